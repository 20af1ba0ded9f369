use super::{
    columns::{self, Column},
    digits::Thousands,
    metric::{push_metric, push_metrics},
};
use crate::{metrics::Metrics, page::Page, page_request::PageRequest};

/// Which metrics a row has.
pub(super) enum Selection {
    /// Those that come without being requested.
    Basic,
    /// Those, and all others as 0.
    Silent,
    Named(Vec<&'static Column>),
}

impl Selection {
    pub(super) fn of(request: &PageRequest, page: &Page, realtime: bool) -> Self {
        let known = columns::known(request.level, realtime);
        match known {
            [] => Self::Named(columns::OFFLINE.iter().copied().flatten().collect()),
            _ if !request.columns.is_empty() => {
                Self::Named(request.columns.iter().filter_map(|name| columns::named(known, name)).collect())
            }
            _ if page.silent => Self::Silent,
            _ => Self::Basic,
        }
    }

    /// Writes the metrics as members of an object.
    pub(super) fn push(&self, out: &mut Vec<u8>, metrics: &Metrics, thousands: Thousands) {
        match self {
            Self::Basic => push_metrics(out, metrics, thousands),
            Self::Silent => {
                push_metrics(out, metrics, thousands);
                for column in columns::OFFLINE.iter().copied().flatten().skip(BASICS) {
                    out.extend_from_slice(b",\"");
                    out.extend_from_slice(column.name.as_bytes());
                    out.extend_from_slice(b"\":\"0\"");
                }
            }
            Self::Named(columns) => {
                for column in columns {
                    out.push(b'"');
                    out.extend_from_slice(column.name.as_bytes());
                    out.extend_from_slice(b"\":\"");
                    push_metric(out, metrics, column.shows, thousands);
                    out.extend_from_slice(b"\",");
                }
                out.pop();
            }
        }
    }
}

/// How many of the columns come without being requested.
const BASICS: usize = 13;
