/// The shape of a stream's data table: made from a source definition, filled by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableShape {
    /// Unqualified table name, a checked identifier.
    pub name: String,
    /// Columns in the order in which [`crate::Rows`] hold them.
    pub columns: Vec<ColumnShape>,
    /// Column that holds the account, where there is one.
    pub account: Option<String>,
    /// The columns that hold the partition's dates.
    pub dates: DateScope,
}

/// One typed column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnShape {
    /// Column name, a checked identifier.
    pub name: String,
    /// The column's type.
    pub kind: Kind,
    /// True if the column is part of the primary key (then never NULL).
    pub key: bool,
}

/// Column types, named as in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `bigint`
    Bigint,
    /// `numeric`, exact
    Numeric,
    /// `text`
    Text,
    /// `boolean`
    Boolean,
    /// `date`
    Date,
    /// `timestamptz`
    Timestamptz,
}

/// Which rows of the table belong to a partition's dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DateScope {
    /// Rows whose date column lies within the partition's dates.
    Within(String),
    /// Rows that carry the partition's own first and last day (summaries).
    Exact {
        /// Column of the first day.
        from: String,
        /// Column of the last day.
        to: String,
    },
    /// All of the account's rows: they know no date.
    Whole,
}

impl DateScope {
    /// `within`, `exact` or `whole`, as in the ledger.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Within(_) => "within",
            Self::Exact { .. } => "exact",
            Self::Whole => "whole",
        }
    }
}

impl TableShape {
    /// Positions of the key's columns, in order.
    pub fn key(&self) -> Vec<usize> {
        self.columns.iter().enumerate().filter(|(_, c)| c.key).map(|(i, _)| i).collect()
    }

    /// The column that holds the account, where there is one.
    pub fn account_column(&self) -> Option<&ColumnShape> {
        let name = self.account.as_ref()?;
        self.columns.iter().find(|column| column.name == *name)
    }

    /// An account as the table's rows name it: empty if they name none, so that all accounts share the rows.
    pub fn row_account<'a>(&self, account: &'a str) -> &'a str {
        if self.account.is_some() { account } else { "" }
    }
}

impl Kind {
    /// The type's name in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Bigint => "bigint",
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Timestamptz => "timestamptz",
        }
    }
}
