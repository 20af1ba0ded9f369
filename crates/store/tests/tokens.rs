//! Tokens on a real PostgreSQL: one buyer for all, nothing readable, nothing lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use pagemill_store::{Claimed, NewTokens, Store, StoreConfig, StoreErrorKind, TokenKey, TokenPlace};
use secrecy::ExposeSecret;
use tokio_postgres::NoTls;

fn server() -> String {
    std::env::var("PAGEMILL_TEST_POSTGRES_URL")
        .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".into())
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A database of its own with one credential, gone when the test ends.
struct World {
    store: Store,
    key: TokenKey,
    place: TokenPlace,
    database: String,
}

impl World {
    async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let database =
            format!("pagemill_tokens_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        connect(&server()).await.batch_execute(&format!("create database {database}")).await.unwrap();
        let url = Self::url(&database);
        let config = StoreConfig { url: url.into(), schema: "public".into(), connections: 4 };
        let store = Store::connect(&config).await.unwrap();
        store.migrate(&[]).await.unwrap();
        let place = TokenPlace { source: "test".into(), credential: "default".into() };
        let world = Self { store, key: TokenKey::parse(&"07".repeat(32)).unwrap(), place, database };
        world.store.tokens.put_granted(&world.key, &world.place, &pair(1)).await.unwrap();
        world
    }

    fn url(database: &str) -> String {
        format!("{}/{database}", server().rsplit_once('/').unwrap().0)
    }

    async fn sql(&self, sql: &str) {
        connect(&Self::url(&self.database)).await.batch_execute(sql).await.unwrap();
    }

    async fn claim(&self, version: i64, owner: &str) -> Claimed {
        self.store.tokens.claim(&self.key, &self.place, version, owner).await.unwrap()
    }

    async fn held(&self) -> (String, i64) {
        let tokens = self.store.tokens.get(&self.key, &self.place).await.unwrap().unwrap();
        (tokens.access_token.expose_secret().to_owned(), tokens.version)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let database = self.database.clone();
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let drop = format!("drop database if exists {database} with (force)");
            runtime.block_on(async { connect(&server()).await.batch_execute(&drop).await })
        });
        let _ = cleaning.join();
    }
}

fn pair(n: u32) -> NewTokens {
    NewTokens {
        access_token: format!("access-{n}").into(),
        access_expires_in: Some(Duration::from_secs(3_600)),
        refresh_token: Some(format!("refresh-{n}").into()),
        refresh_expires_in: Some(Duration::from_secs(86_400)),
        accounts: vec!["1001".into(), "1002".into()],
        requested_at: Instant::now(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_eight_refreshers_at_once_exactly_one_calls() {
    let world = World::new().await;
    let calls = Arc::new(AtomicU32::new(0));
    let refresh = |n: usize| {
        let (world, calls) = (&world, calls.clone());
        async move {
            let owner = format!("process {n}");
            loop {
                match world.claim(1, &owner).await {
                    Claimed::Mine(refresh_token) => {
                        assert_eq!(refresh_token.expose_secret(), "refresh-1");
                        let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        let new = pair(1 + call);
                        assert!(
                            world
                                .store
                                .tokens
                                .put_refreshed(&world.key, &world.place, 1, &new)
                                .await
                                .unwrap()
                        );
                    }
                    Claimed::Theirs => tokio::time::sleep(Duration::from_millis(10)).await,
                    Claimed::Newer => return world.held().await,
                    Claimed::NotRefreshable => panic!("there is a refresh token"),
                }
            }
        }
    };
    let held = join_all((0..8).map(refresh)).await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(held.iter().all(|held| *held == ("access-2".to_owned(), 2)), "{held:?}");
}

#[tokio::test]
async fn a_claimer_that_died_is_waited_for_and_no_longer() {
    let world = World::new().await;
    assert!(matches!(world.claim(1, "dead").await, Claimed::Mine(_)));
    assert!(matches!(world.claim(1, "other").await, Claimed::Theirs));
    world.sql("update pagemill.tokens set refreshing_until = refreshing_until - interval '29 s'").await;
    assert!(matches!(world.claim(1, "other").await, Claimed::Theirs));
    world.sql("update pagemill.tokens set refreshing_until = refreshing_until - interval '1 s'").await;
    assert!(matches!(world.claim(1, "other").await, Claimed::Mine(_)));
    // The dead one wakes: it releases nobody's claim but its own.
    world.store.tokens.release_claim(&world.place, "dead").await.unwrap();
    assert!(matches!(world.claim(1, "third").await, Claimed::Theirs));
    assert!(world.store.tokens.put_refreshed(&world.key, &world.place, 1, &pair(2)).await.unwrap());
    // What it bought is late: the newer pair stays.
    assert!(!world.store.tokens.put_refreshed(&world.key, &world.place, 1, &pair(3)).await.unwrap());
    assert_eq!(world.held().await, ("access-2".to_owned(), 2));
    assert!(matches!(world.claim(1, "third").await, Claimed::Newer));
}

#[tokio::test]
async fn a_failed_purchase_is_given_back() {
    let world = World::new().await;
    assert!(matches!(world.claim(1, "a").await, Claimed::Mine(_)));
    world.store.tokens.release_claim(&world.place, "a").await.unwrap();
    assert!(matches!(world.claim(1, "b").await, Claimed::Mine(_)));
}

#[tokio::test]
async fn a_response_keeps_what_it_does_not_name_and_a_grant_does_not() {
    let world = World::new().await;
    let bare = || NewTokens {
        refresh_token: None,
        refresh_expires_in: None,
        access_expires_in: None,
        accounts: vec![],
        ..pair(2)
    };
    assert!(world.store.tokens.put_refreshed(&world.key, &world.place, 1, &bare()).await.unwrap());
    let tokens = world.store.tokens.get(&world.key, &world.place).await.unwrap().unwrap();
    assert_eq!((tokens.expires_at, tokens.refreshable, tokens.accounts.len()), (None, true, 2));
    let accounts = world.store.tokens.accounts(&world.place).await.unwrap();
    assert_eq!(accounts, Some(tokens.accounts));
    let status = &world.store.tokens.status("test").await.unwrap()[0];
    assert!(status.refresh_expires_in.is_some_and(|left| (86_300..=86_400).contains(&left)), "{status:?}");
    assert!(matches!(world.claim(2, "a").await, Claimed::Mine(old) if old.expose_secret() == "refresh-1"));
    assert_eq!(world.store.tokens.put_granted(&world.key, &world.place, &bare()).await.unwrap(), 3);
    let tokens = world.store.tokens.get(&world.key, &world.place).await.unwrap().unwrap();
    assert_eq!((tokens.refreshable, tokens.accounts.len()), (false, 0));
    assert!(matches!(world.claim(3, "a").await, Claimed::NotRefreshable));
}

#[tokio::test]
async fn nothing_readable_is_stored_and_a_row_cannot_stand_in_for_another() {
    let world = World::new().await;
    let (_, rows) = world.store.query("select t::text from pagemill.tokens t").await.unwrap();
    let shown = rows[0][0].clone().unwrap();
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    for secret in ["access-1", "refresh-1"] {
        assert!(!shown.contains(secret) && !shown.contains(&hex(secret)), "{shown}");
    }
    let status = serde_json::to_string(&world.store.tokens.status("test").await.unwrap()).unwrap();
    assert!(!status.contains("access-1") && !status.contains("refresh-1"), "{status}");

    let other = TokenPlace { credential: "other".into(), ..world.place.clone() };
    world.store.tokens.put_granted(&world.key, &other, &pair(7)).await.unwrap();
    world.sql("update pagemill.tokens set access_token = (select access_token from pagemill.tokens where credential = 'default')").await;
    let error = world.store.tokens.get(&world.key, &other).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Invalid);

    let wrong = TokenKey::parse(&"08".repeat(32)).unwrap();
    let error = world.store.tokens.get(&wrong, &world.place).await.unwrap_err();
    assert!(error.to_string().contains("PAGEMILL_KEY"), "{error}");
}
