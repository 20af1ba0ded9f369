//! Slices that can hold the same row conflict.

/// True if the partitions `p` and `o` are attempts at slices that conflict.
pub(crate) const CONFLICT: &str = "(o.source, o.stream, o.row_account) = (p.source, p.stream, p.row_account) \
    and case p.date_scope when 'within' then o.from_date <= p.to_date and o.to_date >= p.from_date \
        when 'exact' then (o.from_date, o.to_date) = (p.from_date, p.to_date) else true end";

/// True if the sealed cell `c` conflicts with the slice of partition `p`.
pub(crate) const CONFLICTING_CELL: &str = "(c.source, c.stream, c.account) = (p.source, p.stream, p.row_account) \
    and case p.date_scope when 'within' then c.from_date between p.from_date and p.to_date \
        when 'exact' then (c.from_date, c.to_date) = (p.from_date, p.to_date) else true end";
