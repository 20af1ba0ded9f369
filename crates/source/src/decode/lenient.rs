//! Visitors that look into one form of a JSON value, and pass over any other.

use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A visitor that takes any JSON value and looks into one form of it. APIs send `null` or `[]`
/// where an object was due, and that is no reason to give up on the rest of the response.
pub(super) trait Lenient<'de>: Sized {
    /// What comes of a value.
    type Out;

    /// The value has another form.
    fn other(self, form: Form) -> Self::Out;

    /// The value is an object.
    fn map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Out, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.other(Form::Other))
    }

    /// The value is an array.
    fn seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Out, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.other(Form::Other))
    }
}

/// The form of a value that is not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Null,
    Other,
}

/// Makes a [`Lenient`] usable with serde.
pub(super) struct Leniently<'de, L>(L, PhantomData<&'de ()>);

impl<L> Leniently<'_, L> {
    pub(super) fn new(lenient: L) -> Self {
        Self(lenient, PhantomData)
    }
}

impl<'de, L: Lenient<'de>> DeserializeSeed<'de> for Leniently<'de, L> {
    type Value = L::Out;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<L::Out, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, L: Lenient<'de>> Visitor<'de> for Leniently<'de, L> {
    type Value = L::Out;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Other))
    }

    fn visit_i64<E>(self, _: i64) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Other))
    }

    fn visit_u64<E>(self, _: u64) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Other))
    }

    fn visit_f64<E>(self, _: f64) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Other))
    }

    fn visit_str<E>(self, _: &str) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Other))
    }

    fn visit_unit<E>(self) -> Result<L::Out, E> {
        Ok(self.0.other(Form::Null))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<L::Out, A::Error> {
        self.0.map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<L::Out, A::Error> {
        self.0.seq(seq)
    }
}

/// Reads a whole text leniently.
pub(super) fn read_all<'de, L: Lenient<'de>>(
    text: &'de str,
    lenient: L,
) -> Result<L::Out, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let out = deserializer.deserialize_any(Leniently::new(lenient))?;
    deserializer.end()?;
    Ok(out)
}
