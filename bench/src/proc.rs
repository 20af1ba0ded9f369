//! Reads Linux's /proc about processes.

use std::{fs, path::Path};

/// Ticks a second in `/proc/PID/stat`: 100 on every Linux.
const TICKS: f64 = 100.0;

/// A process at a moment, also one that has ended and was not waited for yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stat {
    /// It has ended.
    pub(crate) ended: bool,
    pub(crate) parent: u32,
    /// CPU seconds of its own.
    pub(crate) own: f64,
    /// CPU seconds of its descendants that have ended and were waited for.
    pub(crate) gone: f64,
}

pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// CPU seconds of a process, its living children and all that have ended: of a server whose children
/// have none of their own, all that it ever used.
pub(crate) fn cpu_with_children(pid: u32) -> Option<f64> {
    // Children first: one that ends in between is then missed for a moment, and never counted twice.
    let living: f64 = all()
        .into_iter()
        .filter_map(stat)
        .filter(|s| s.parent == pid && !s.ended)
        .map(|s| s.own + s.gone)
        .sum();
    stat(pid).map(|s| s.own + s.gone + living)
}

/// The most memory that a process ever had resident, in bytes.
pub(crate) fn peak_rss(pid: u32) -> Option<u64> {
    field_kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}

/// A process and all its living descendants.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(pid) = tree.get(next) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        tree.extend(
            children.collect::<String>().split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()),
        );
        next += 1;
    }
    tree
}

/// The process of this name that listens on a TCP port.
pub(crate) fn listener(port: u16, name: &str) -> Option<u32> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let holds = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|to| inodes.iter().any(|inode| to == Path::new(inode)))
    };
    let named =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
    all().into_iter().filter(named).find(holds)
}

/// Every process's id, in order.
fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut all: Vec<u32> = entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    all.sort_unstable();
    all
}

/// The name in parentheses may hold anything, so the fields are counted from its end.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let seconds = |n: usize| fields.get(n)?.parse::<f64>().ok().map(|ticks| ticks / TICKS);
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        own: seconds(11)? + seconds(12)?,
        gone: seconds(13)? + seconds(14)?,
    })
}

fn field_kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Inodes of the sockets that listen on a port, of a table as /proc/net/tcp.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|f| f.len() > 9 && f[1].ends_with(&port) && f[3] == LISTEN)
        .map(|f| f[9].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_whatever_the_name() {
        let text = "4242 (a b) c) Z 17 1 1 0 -1 4194560 9 0 0 0 250 50 100 25 20 0 4 0 1 2 3";
        let expected = Stat { ended: true, parent: 17, own: 3.0, gone: 1.25 };
        assert_eq!(parse_stat(text), Some(expected));
        assert!(!parse_stat(&text.replace(") Z", ") S")).unwrap().ended);
        assert_eq!(parse_stat("4242 (short) S 1"), None);
    }

    #[test]
    fn peak_memory_is_in_bytes() {
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t   21500 kB\nVmRSS:\t 3 kB\n";
        assert_eq!(field_kib(status, "VmHWM:"), Some(21500 * 1024));
        assert_eq!(field_kib("Name:\tkthreadd\n", "VmHWM:"), None);
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let line = |port: &str, state: &str, inode: &str| {
            format!(
                "  0: 0100007F:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000   0        0 {inode} 1\n"
            )
        };
        let table = line("1538", "0A", "11") + &line("1538", "01", "22") + &line("1539", "0A", "33");
        assert_eq!(listening(&table, 5432), ["11"]);
    }

    #[test]
    fn this_process_is_seen() {
        let me = std::process::id();
        let this = stat(me).unwrap();
        assert!(!this.ended && this.parent > 0);
        assert!(peak_rss(me).unwrap() > 1 << 20);
        assert_eq!(tree(me)[0], me);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(listener(socket.local_addr().unwrap().port(), name.trim()), Some(me));
        assert_eq!(listener(socket.local_addr().unwrap().port(), "another"), None);
    }
}
