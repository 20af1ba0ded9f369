//! The quota's request slots: windows, several quotas a request, and what throttling does.

mod common;

use std::time::Duration;

use common::World;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use pagemill_store::{QuotaLimits, SlotGrant, SlotRequest, Store};

const UNLIMITED: QuotaLimits = QuotaLimits { per_second: None, per_minute: None, per_day: None, burst: 1 };

async fn ensure(store: &Store, key: &str, limits: QuotaLimits) {
    store.quotas.ensure(key, &limits, "Asia/Shanghai").await.unwrap();
}

fn per_second(rate: f64) -> QuotaLimits {
    QuotaLimits { per_second: Some(rate), ..UNLIMITED }
}

/// Slots for groups of requests, each with its keys.
async fn reserve(store: &Store, groups: &[(&[&str], u32)]) -> SlotGrant {
    let mut keys: Vec<String> =
        groups.iter().flat_map(|(keys, _)| keys.iter().map(|key| (*key).to_owned())).collect();
    keys.sort_unstable();
    keys.dedup();
    let place = |key: &&str| keys.iter().position(|known| known == key).unwrap();
    let groups = groups.iter().map(|(keys, wants)| (keys.iter().map(place).collect(), *wants)).collect();
    let request = SlotRequest {
        groups,
        lead: Duration::from_millis(5),
        horizon: Duration::from_secs(20),
        keys: keys.clone(),
    };
    store.quotas.reserve(&request).await.unwrap().expect("the keys are recorded")
}

fn times(grant: &SlotGrant, group: usize) -> Vec<Timestamp> {
    grant.slots[group].iter().map(|slot| grant.clock.read() + *slot).collect()
}

fn least_gap(slots: &mut [Timestamp]) -> SignedDuration {
    slots.sort_unstable();
    slots.windows(2).map(|w| w[1].duration_since(w[0])).min().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_of_all_replicas_are_apart() {
    let world = World::new().await;
    ensure(&world.store, "test", per_second(50.0)).await;
    let grants = join_all((0..20).map(|_| reserve(&world.store, &[(&["test"], 3)]))).await;
    let mut slots: Vec<Timestamp> = grants.iter().flat_map(|grant| times(grant, 0)).collect();
    assert_eq!(slots.len(), 60);
    let gap = least_gap(&mut slots);
    assert!(gap >= SignedDuration::from_micros(20_099), "20 ms and the margin: {gap:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_minute_holds_more_than_it_permits_however_it_is_cut() {
    let world = World::new().await;
    let limits = QuotaLimits { per_second: Some(1_000.0), per_minute: Some(40), ..UNLIMITED };
    ensure(&world.store, "test", limits).await;
    let first = reserve(&world.store, &[(&["test"], 30)]).await;
    assert_eq!((first.slots[0].len(), first.waits[0]), (30, None), "the pace of a second, not of a minute");
    let second = reserve(&world.store, &[(&["test"], 30)]).await;
    assert_eq!(second.slots[0].len(), 10);
    let (wait, key) = second.waits[0].unwrap();
    assert_eq!(key, Some(0));
    let opens = second.clock.read() + wait;
    let after = opens.duration_since(*times(&first, 0).first().unwrap());
    assert!(after >= SignedDuration::from_secs(60) && after <= SignedDuration::from_secs(62), "{after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_ends_at_midnight_in_its_zone() {
    let world = World::new().await;
    ensure(&world.store, "test", QuotaLimits { per_day: Some(5), ..UNLIMITED }).await;
    let grant = reserve(&world.store, &[(&["test"], 9)]).await;
    assert_eq!(grant.slots[0].len(), 5, "at once: a day is counted, not spaced");
    let opens = (grant.clock.read() + grant.waits[0].unwrap().0).in_tz("Asia/Shanghai").unwrap();
    let seconds = opens.time().duration_since(jiff::civil::Time::midnight()).as_secs();
    assert!(seconds == 0 || seconds == 86_399, "{opens}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_comes_at_once_and_then_the_pace_holds() {
    let world = World::new().await;
    ensure(&world.store, "test", QuotaLimits { burst: 4, ..per_second(10.0) }).await;
    let slots = times(&reserve(&world.store, &[(&["test"], 6)]).await, 0);
    let at = |n: usize| slots[n].duration_since(slots[0]).as_millis();
    assert_eq!((0..6).map(at).map(|ms| ms / 100).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 2]);
}

/// A slow account's requests neither wait in front of others nor leave the app's slots unused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_account_costs_the_app_nothing() {
    let world = World::new().await;
    ensure(&world.store, "app", per_second(100.0)).await;
    ensure(&world.store, "app@slow", per_second(1.0)).await;
    let grant = reserve(&world.store, &[(&["app", "app@slow"], 10), (&["app"], 20)]).await;
    assert_eq!((grant.slots[0].len(), grant.slots[1].len()), (1, 20));
    assert_eq!(grant.waits[0].unwrap().1, Some(1), "it waits for its account");
    let mut slots = times(&grant, 0);
    slots.extend(times(&grant, 1));
    assert_eq!(least_gap(&mut slots).as_micros() / 100, 100, "10 ms and the margin");
    let span = slots.last().unwrap().duration_since(slots[0]);
    assert!(span < SignedDuration::from_millis(205), "no slot of the app is left out: {span:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_throttled_response_changes_nothing_and_many_back_the_rate_off() {
    let world = World::new().await;
    let store = &world.store;
    ensure(store, "test", per_second(100.0)).await;
    let throttle =
        |epoch, pause| async move { store.quotas.back_off("test", epoch, pause).await.unwrap().unwrap() };
    let begun = store.clock().await.unwrap().now();
    let single = throttle(0, None).await;
    assert_eq!((single.rate_factor, single.backed_off, single.epoch), (1.0, false, 0));
    let second = throttle(0, None).await;
    assert_eq!(
        (second.rate_factor, second.backed_off, second.epoch),
        (0.95, true, 1),
        "it voids what is reserved"
    );
    for _ in 0..9 {
        assert!(!throttle(0, None).await.backed_off, "slots from before the back-off say nothing new");
    }

    // Met again at once, the API permits less.
    throttle(1, None).await;
    let less = throttle(1, None).await;
    assert!(less.backed_off && less.epoch == 2 && (0.664..0.666).contains(&less.rate_factor), "{less:?}");
    let slots = times(&reserve(store, &[(&["test"], 2)]).await, 0);
    assert!(slots[0].duration_since(begun) >= SignedDuration::from_millis(990), "a second's pause");
    assert_eq!(slots[1].duration_since(slots[0]).as_micros() / 100, 151, "66.5 a second");

    // Throttled while it recovers, the rate backs off a little; a single response changes nothing.
    let recovering = "update pagemill.quotas set rate_factor = 0.35, throttle_streak = 0, recovers_at = clock_timestamp() - interval '9 s'";
    world.execute(recovering).await;
    assert!(!throttle(2, None).await.backed_off);
    let share = store.quotas.list(Some("test")).await.unwrap()[0].rate_factor;
    assert!((0.49..0.51).contains(&share), "{share}: 0.35 after 9 s at 4 % each");
    let back = throttle(2, None).await;
    assert!(back.backed_off && back.epoch == 3 && (0.45..0.47).contains(&back.rate_factor), "{back:?}");
    throttle(3, None).await;
    let again = throttle(3, None).await;
    assert!(
        again.backed_off && (0.41..0.44).contains(&again.rate_factor),
        "and a little more, where that was not enough: {again:?}"
    );

    let pause = Duration::from_secs(60);
    assert_eq!(throttle(4, Some(pause)).await.epoch, 5);
    let grant = reserve(store, &[(&["test"], 1)]).await;
    let wait = grant.waits[0].unwrap().0;
    assert!(grant.slots[0].is_empty() && wait > Duration::from_secs(50) && wait <= pause, "{wait:?}");

    store.quotas.reset(Some("test")).await.unwrap();
    let shown = &store.quotas.list(Some("test")).await.unwrap()[0];
    assert!(shown.rate_factor == 1.0 && shown.opens_in <= 1.0 && shown.throttled == 18, "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_apis_own_word_is_believed() {
    let world = World::new().await;
    let store = &world.store;
    ensure(store, "test", per_second(1_000.0)).await;
    store.quotas.observe_budget("test", 3, Duration::from_secs(10)).await.unwrap();
    let grant = reserve(store, &[(&["test"], 9)]).await;
    assert_eq!(grant.slots[0].len(), 3);
    let wait = grant.waits[0].unwrap().0;
    assert!(wait > Duration::from_secs(8) && wait <= Duration::from_secs(10), "{wait:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_word_goes_over_the_config_until_it_is_reset() {
    let world = World::new().await;
    let store = &world.store;
    ensure(store, "test", per_second(100.0)).await;
    store.quotas.set("test", Some(10.0), None, None).await.unwrap();
    ensure(store, "test", per_second(200.0)).await;
    let shown = &store.quotas.list(Some("test")).await.unwrap()[0];
    assert_eq!((shown.per_second, shown.set), (Some(10.0), true));
    store.quotas.reset(None).await.unwrap();
    assert_eq!(store.quotas.list(Some("test")).await.unwrap()[0].per_second, Some(200.0));
    let error = store.quotas.set("tset", Some(1.0), None, None).await.unwrap_err().to_string();
    assert!(error.contains("no quota tset; there are: test"), "{error}");
}
