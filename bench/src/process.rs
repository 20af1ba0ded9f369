//! A program under measurement: started, watched, ended, and what it used.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::proc;

/// How often its end is looked for, and how many looks come to one at its memory.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS_A_MEMORY: u32 = 8;
/// Longer than any program here takes.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// A program that runs; killed when dropped.
pub(crate) struct Program {
    child: Child,
    name: String,
    begun: Instant,
    log: PathBuf,
    peaks: BTreeMap<u32, u64>,
}

/// What a program used, its descendants included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// From its start to its end.
    pub(crate) seconds: f64,
    /// User and system CPU seconds.
    pub(crate) cpu: f64,
    /// The most that its largest process had resident, in bytes.
    pub(crate) peak_rss: u64,
    /// How many processes it was.
    pub(crate) processes: usize,
}

impl Program {
    /// Starts it; its output goes to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let begun = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name, begun, log: log.to_owned(), peaks: BTreeMap::new() })
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The program's output so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// CPU seconds so far.
    pub(crate) fn cpu(&self) -> f64 {
        proc::cpu_with_children(self.pid()).unwrap_or_default()
    }

    pub(crate) fn is_alive(&self) -> bool {
        proc::stat(self.pid()).is_some_and(|s| !s.ended)
    }

    /// Looks at its memory; to be called now and then.
    pub(crate) fn look(&mut self) {
        for pid in proc::tree(self.pid()) {
            if let Some(peak) = proc::peak_rss(pid) {
                let known = self.peaks.entry(pid).or_default();
                *known = peak.max(*known);
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for its end, which must be a success.
    pub(crate) async fn ended(self) -> anyhow::Result<Used> {
        let (name, log) = (self.name.clone(), self.log.clone());
        let (used, status) = self.finish().await?;
        if !status.success() {
            let output = fs::read_to_string(&log).unwrap_or_default();
            bail!("{name} ended with {status}: {}", tail(&output));
        }
        Ok(used)
    }

    /// Signals it to end, and waits.
    pub(crate) async fn stopped(self) -> anyhow::Result<Used> {
        self.signal(Signal::TERM)?;
        Ok(self.finish().await?.0)
    }

    async fn finish(mut self) -> anyhow::Result<(Used, ExitStatus)> {
        for looks in 0_u32.. {
            // What has ended and was not waited for still has its CPU time, to the last.
            let stat = proc::stat(self.pid()).context("a child that was not waited for")?;
            if stat.ended {
                let used = Used {
                    seconds: self.begun.elapsed().as_secs_f64(),
                    cpu: stat.own + stat.gone,
                    peak_rss: self.peaks.values().copied().max().unwrap_or_default(),
                    processes: self.peaks.len(),
                };
                return Ok((used, self.child.wait()?));
            }
            if self.begun.elapsed() > PATIENCE {
                bail!("{} does not end: {}", self.name, tail(&self.output()));
            }
            if looks % LOOKS_A_MEMORY == 0 {
                self.look();
            }
            sleep(LOOK).await;
        }
        unreachable!("the loop ends by returning")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of an output.
fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Program, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        (Program::start(command, &dir.path().join("log")).unwrap(), dir)
    }

    /// Some CPU time, in a process of its own.
    const WORK: &str = "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'";

    #[tokio::test]
    async fn descendants_count() {
        let (program, _dir) = shell(&format!("{WORK}; true"));
        let used = program.ended().await.unwrap();
        assert!(used.cpu > 0.01 && used.seconds >= 0.9 * used.cpu, "{used:?}");
        assert!(used.peak_rss > 100_000 && used.processes >= 2, "{used:?}");
    }

    #[tokio::test]
    async fn a_failed_end_is_reported_with_the_last_lines() {
        let (program, _dir) = shell("echo the disk is full; exit 3");
        let error = program.ended().await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("the disk is full"), "{error}");
    }

    #[tokio::test]
    async fn one_that_is_stopped_has_not_failed() {
        let (program, _dir) = shell("while :; do sleep 0.01; done");
        assert!(program.is_alive());
        program.stopped().await.unwrap();
    }
}
