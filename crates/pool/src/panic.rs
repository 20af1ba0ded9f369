//! Panics: caught, described and logged once.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

const NOT_TEXT: &str = "a panic whose payload is not text";

/// What a contained panic said, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// The text given to `panic!`, or a sentence saying that the payload was not text.
    pub message: String,
    /// `file:line:column` of the panic. `None` if it was raised by
    /// [`resume_unwind`](std::panic::resume_unwind), which tells no hook, or if the program replaced
    /// the pool's panic hook by one of its own.
    pub location: Option<String>,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{} at {location}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Panic {}

struct Place {
    location: Option<String>,
    backtrace: Backtrace,
}

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static PLACE: Cell<Option<Place>> = const { Cell::new(None) };
}

/// Runs `run`, and turns its panic into an error. The panic is logged here and nowhere else.
pub(crate) fn contain<T>(run: impl FnOnce() -> T) -> Result<T, Panic> {
    install_hook();
    let outer = WATCHED.replace(true);
    let caught = catch_unwind(AssertUnwindSafe(run));
    WATCHED.set(outer);
    let place = PLACE.take();
    caught.map_err(|payload| described(payload, place))
}

fn described(payload: Box<dyn Any + Send>, place: Option<Place>) -> Panic {
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => NOT_TEXT.to_owned(),
    };
    discard(payload);
    let backtrace = place.as_ref().map(|place| &place.backtrace);
    let backtrace = backtrace.filter(|trace| trace.status() == BacktraceStatus::Captured);
    let location = place.as_ref().and_then(|place| place.location.clone());
    tracing::error!(
        panic.message = message,
        panic.location = location,
        panic.backtrace = backtrace.map(tracing::field::display),
        "a panic was contained"
    );
    Panic { message, location }
}

/// A payload may panic when it is dropped, and so may the payload of that panic: the second is leaked.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// The hook speaks only for threads inside [`contain`]; everyone else's panics go to the hook before it.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| if WATCHED.get() { note(info) } else { previous(info) }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let place = Place { location: info.location().map(ToString::to_string), backtrace: Backtrace::capture() };
    // Not there any more while the thread ends: the place is then unknown.
    let _ = PLACE.try_with(|noted| noted.set(Some(place)));
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use super::*;

    struct Grenade;

    impl Drop for Grenade {
        fn drop(&mut self) {
            std::panic::panic_any(Grenade)
        }
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_contained() {
        let panic = contain(|| std::panic::panic_any(Grenade)).unwrap_err();
        assert_eq!(panic.message, NOT_TEXT);
        assert!(panic.location.unwrap().contains("panic.rs:"));
    }

    #[test]
    fn the_place_of_an_earlier_panic_is_forgotten() {
        contain(|| catch_unwind(|| panic!("caught by the handler itself")).is_err()).unwrap();
        let silent = contain(|| resume_unwind(Box::new("silent"))).unwrap_err();
        assert_eq!((silent.message.as_str(), silent.location), ("silent", None));
    }
}
