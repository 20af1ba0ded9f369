use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    api::{Api, Counts},
    args::Args,
    process::Program,
    servers::Servers,
    world::{Settings, World, all_alive, log_in},
};

/// Pages beyond what is needed: starting up takes its time too.
const SPARE: Duration = Duration::from_secs(20);
/// More replicas than this have one writer each, or their connections are too many.
const CROWD: u32 = 16;

/// Consumers at work against an API with a rate, long enough to have settled.
pub(super) struct Stand<'a> {
    pub(super) api: Api,
    pub(super) world: World<'a>,
    pub(super) consumers: Vec<Program>,
    _dir: tempfile::TempDir,
}

impl<'a> Stand<'a> {
    /// Publishes pages for so long beyond the warm-up, starts the consumers, and warms up.
    pub(super) async fn warm(
        args: &Args,
        servers: &'a Servers,
        rate: u32,
        replicas: u32,
        lasts: Duration,
    ) -> anyhow::Result<Self> {
        let seconds = (args.warmup() + lasts + SPARE).as_secs();
        let rows = seconds * u64::from(rate) * u64::from(args.page_size);
        let mut stand = Self::idle(args, servers, rate, replicas, rows).await?;
        stand.world.produce(&[]).await?;
        for _ in 0..replicas {
            stand.consumers.push(stand.world.pagemill("pagemill-consumer", &[])?);
        }
        sleep(args.warmup()).await;
        all_alive(&stand.consumers)?;
        Ok(stand)
    }

    /// The same before anything was published or started.
    pub(super) async fn idle(
        args: &Args,
        servers: &'a Servers,
        rate: u32,
        replicas: u32,
        rows: u64,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let serve = ["--rows", &rows.to_string(), "--rate", &rate.to_string(), "--latency", &args.latency];
        let api = Api::start(&args.bin, &serve.map(str::to_owned), &log_in(&dir, "api.log")?).await?;
        let settings = Settings {
            workers: None,
            rate: &format!("{{ per_second = {rate} }}"),
            page_size: args.page_size,
            writers: (replicas > CROWD).then_some(1),
            keep_responses: None,
        };
        let world = World::new(servers, &args.bin, &api.url, settings).await?;
        Ok(Self { api, world, consumers: vec![], _dir: dir })
    }

    /// The API's counts at the moment a request came, so that whole intervals are counted.
    pub(super) async fn edge(&self) -> anyhow::Result<(Instant, Counts)> {
        let before = self.api.counts().await?;
        loop {
            let counts = self.api.counts().await?;
            if counts.seen > before.seen {
                return Ok((Instant::now(), counts));
            }
            all_alive(&self.consumers)?;
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reservations so far, and the slots that they got.
    pub(super) async fn reserved(&self) -> anyhow::Result<(i64, i64)> {
        let sql = "select coalesce(sum(reservations), 0)::bigint, coalesce(sum(requests), 0)::bigint from pagemill.quotas";
        let row = self.world.db().query_one(sql, &[]).await?;
        Ok((row.get(0), row.get(1)))
    }

    /// How many lines the consumers logged; the first is shown.
    pub(super) fn warnings(&self) -> usize {
        let output: String = self.consumers.iter().map(Program::output).collect();
        if let Some(first) = output.lines().next() {
            eprintln!("a consumer logged: {first}");
        }
        output.lines().count()
    }

    pub(super) fn cpu(&self) -> f64 {
        self.consumers.iter().map(Program::cpu).sum()
    }

    /// All consumers end at once: what they hold is of no use any more.
    pub(super) async fn clear(self) -> anyhow::Result<()> {
        drop(self.consumers);
        self.world.clear().await
    }
}
