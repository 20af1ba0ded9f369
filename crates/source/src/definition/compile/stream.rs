//! Checks a stream.

use std::collections::BTreeMap;

use super::{
    columns, pager, request,
    shared::{NAMES, Shared, with},
    table,
};
use crate::{
    decode::{RowPlan, SumsPlan},
    definition::{
        document::{
            columns::ColumnDoc,
            dates::DatesDoc,
            serde_helpers::{OneOrMany, Scalar},
            stream::{MissingDoc, OutsideDoc, PartitionByDoc, SplitDoc, StreamDoc},
        },
        error::Wrong,
        names::{check_identifier, check_short_name},
        pager::{Pager, Split},
        rate::Rate,
        stream::Stream,
    },
    template::Template,
};

/// Besides, in what is set for a part of a day.
const PART: [&str; 10] = with(NAMES, "value");

pub(super) fn compile(source: &Shared<'_>, name: &str, mut document: StreamDoc) -> Result<Stream, Wrong> {
    check_short_name(name).map_err(|e| Wrong::at([], e))?;
    let table = document.table.take().unwrap_or_else(|| format!("{}_{name}", source.name));
    check_identifier(&table).map_err(|e| Wrong::at(["table"], e))?;
    let request = request::compile(&document.take_request(), source.base_url, source.scope(&NAMES))?;
    let page_size = pager::size(&document.pager)?;
    let max_result_window = pager::max_result_window(&document.pager, page_size)?;
    let (pager, response) = pager::compile(source, &document.pager, &document.response, &request)?;
    let days_per_partition = days_per_partition(&document)?;
    let columns = std::mem::take(&mut document.columns);
    let (rows, shape) = columns::compile(columns, source.groups, source.params, source.reader)?;
    let sums = sums(source, &document, &pager, &rows)?;
    check_rate(&document.rate.0)?;
    let monthly = is_monthly(&document)?;
    let splits = document.split_by.into_iter().enumerate();
    Ok(Stream {
        decode_hash: 0, // of the whole text: see `Definition::parse`
        title: document.title.unwrap_or_else(|| name.to_owned()),
        name: name.to_owned(),
        rate: document.rate.0,
        page_size,
        max_result_window,
        max_days: document.max_days,
        days_per_partition,
        ready_at: document.ready_at,
        restate: document.restate,
        keeps_missing: document.missing_rows == MissingDoc::Keep,
        drops_outside: document.outside == OutsideDoc::Drop,
        monthly,
        splits: splits.map(|(i, document)| split(source, i, document)).collect::<Result<_, _>>()?,
        table: table::compile(table, shape, document.account_column, document.dates)?,
        request,
        pager,
        response,
        rows,
        sums,
    })
}

fn days_per_partition(document: &StreamDoc) -> Result<u32, Wrong> {
    let (days, max_days) = (document.days_per_partition.unwrap_or(1), document.max_days);
    if max_days == Some(0) {
        return Err(Wrong::at(["max_days"], "a request spans at least one day"));
    }
    if days == 0 || max_days.is_some_and(|most| days > most) {
        let what = "a partition holds at least one day, and not more than max_days";
        return Err(Wrong::at(["days_per_partition"], what));
    }
    Ok(days)
}

fn sums(source: &Shared<'_>, document: &StreamDoc, pager: &Pager, rows: &RowPlan) -> Result<SumsPlan, Wrong> {
    let sums = table::sums(&document.sums, source.groups, rows)?;
    if !sums.columns.is_empty() && document.response.sums.0.is_empty() && !matches!(pager, Pager::Task(_)) {
        return Err(Wrong::at(["sums"], "where does a response state them? add sums to response"));
    }
    Ok(sums)
}

fn check_rate(rate: &Rate) -> Result<(), Wrong> {
    rate.check().map_err(|e| e.within(&["rate"]))?;
    if rate.remaining_header.is_some() {
        let what = "headers tell of the source's rate: name them there";
        return Err(Wrong::at(["rate", "remaining_header"], what));
    }
    Ok(())
}

fn is_monthly(document: &StreamDoc) -> Result<bool, Wrong> {
    let monthly = document.partition_by == Some(PartitionByDoc::Month);
    if monthly && matches!(document.dates, DatesDoc::None) {
        let what = "the rows know no date (dates = \"none\"): there are no months";
        return Err(Wrong::at(["partition_by"], what));
    }
    Ok(monthly)
}

fn split(source: &Shared<'_>, i: usize, document: SplitDoc) -> Result<Split, Wrong> {
    let SplitDoc { name, values, set } = document;
    let at = ["split_by", &i.to_string()];
    if values.len() < 2 {
        return Err(Wrong::at(["values"], "a dimension has two values at least").within(&at));
    }
    let set = Template::of_table(&set, source.scope(&PART))
        .map_err(|e| Wrong { path: e.path, what: e.what }.within(&["set"]).within(&at))?;
    if !set.names(&["value"]) {
        return Err(Wrong::at(["set"], "{value} is nowhere: all parts would be the same").within(&at));
    }
    Ok(Split { name, values: values.into_iter().map(|Scalar(value)| value).collect(), set })
}

/// The names of each group's columns, as the API knows them: the last parts of their paths.
pub(super) fn api_names(groups: &BTreeMap<String, Vec<ColumnDoc>>) -> BTreeMap<String, Vec<String>> {
    let name = |column: &ColumnDoc| {
        let path = column.path.as_ref().and_then(|OneOrMany(paths)| paths.first()).unwrap_or(&column.name);
        path.rsplit('.').next().unwrap_or(path).to_owned()
    };
    let from_rows = |column: &&ColumnDoc| column.param.is_none() && column.constant.is_none();
    let names = |columns: &Vec<ColumnDoc>| columns.iter().filter(from_rows).map(name).collect();
    groups.iter().map(|(group, columns)| (group.clone(), names(columns))).collect()
}
