//! Which credential covers which account.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use pagemill_store::{Store, TokenPlace};

use super::{CredentialError, CredentialName, oauth::never_authorized};
use crate::config::{Accounts, ConfigError};

/// The accounts are read again for an account that no credential covers, at most so often.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Which credential covers which account, as of the last reading.
#[derive(Default)]
pub(super) struct Coverage {
    /// Positions of credentials, by account.
    by_account: HashMap<String, usize>,
    read_at: Option<Instant>,
}

impl Coverage {
    /// The position of the credential that covers an account.
    pub(super) fn of(&self, account: &str) -> Option<usize> {
        self.by_account.get(account).copied()
    }

    /// True if the accounts were read so long ago that a new one may be among them.
    pub(super) fn is_stale(&self) -> bool {
        self.read_at.is_none_or(|at| at.elapsed() > READ_AGAIN)
    }

    /// Begins a new reading.
    pub(super) fn clear(&mut self) {
        self.by_account.clear();
        self.read_at = Some(Instant::now());
    }

    /// Records that a credential covers an account. False if an earlier one does.
    pub(super) fn add(&mut self, account: &str, credential: usize) -> bool {
        let new = !self.by_account.contains_key(account);
        if new {
            self.by_account.insert(account.to_owned(), credential);
        }
        new
    }
}

/// Reads the accounts of a credential from the list, grant, file or query that the config names.
pub(super) async fn read(
    store: &Store,
    name: &CredentialName,
    accounts: &Accounts,
) -> Result<Vec<String>, CredentialError> {
    let wrong = |what: String| CredentialError::Config(name.clone(), ConfigError(what));
    let (read, place) = match accounts {
        Accounts::List(list) => return Ok(list.clone()),
        Accounts::Token => {
            let place = TokenPlace { source: name.source.clone(), credential: name.credential.clone() };
            let granted = store.tokens.accounts(&place).await;
            let granted = granted.map_err(|e| CredentialError::Store(name.clone(), e))?;
            (granted.ok_or_else(|| wrong(never_authorized(&place)))?, "the API's grant".to_owned())
        }
        Accounts::File(path) => (read_file(path).map_err(wrong)?, path.display().to_string()),
        Accounts::Sql(sql) => {
            let (_, rows) = store.query(sql).await.map_err(|e| CredentialError::Store(name.clone(), e))?;
            let first = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
            (first.collect(), "the query".to_owned())
        }
    };
    if read.is_empty() {
        return Err(wrong(format!("accounts: {place} names none")));
    }
    Ok(read)
}

fn read_file(path: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("accounts: {}: {e}", path.display()))?;
    Ok(lines(&text))
}

/// One account a line; `#` begins a comment.
fn lines(text: &str) -> Vec<String> {
    let plain = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    plain.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_of_accounts() {
        let text = "# ours\n1001\n\n 1002  # the shop\r\n1003";
        assert_eq!(super::lines(text), ["1001", "1002", "1003"]);
    }
}
