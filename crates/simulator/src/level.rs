/// How many creatives share a unit.
pub(crate) const UNIT_CREATIVES: u64 = 20;
/// How many creatives share a campaign.
pub(crate) const CAMPAIGN_CREATIVES: u64 = 500;

/// What a row stands for: a creative, or several of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// All creatives together.
    Account,
    /// [`crate::Row::campaign_id`].
    Campaign,
    /// [`crate::Row::unit_id`].
    Unit,
    /// [`crate::Row::creativity_id`].
    Creative,
    /// A word that is bid for: five creatives of a unit.
    Keyword,
    /// [`crate::Row::note_id`]: one creative's.
    Note,
    /// A product: fifty creatives.
    Spu,
    /// A word that was searched for: two creatives of a unit.
    SearchWord,
    /// A unit's audience: ten creatives.
    Target,
}

impl Level {
    /// How many creatives a row of the level stands for; an account's one row stands for all.
    pub(crate) fn creatives(self) -> u64 {
        match self {
            Self::Account => u64::MAX,
            Self::Campaign => CAMPAIGN_CREATIVES,
            Self::Unit => UNIT_CREATIVES,
            Self::Creative | Self::Note => 1,
            Self::Keyword => 5,
            Self::Spu => 50,
            Self::SearchWord => 2,
            Self::Target => 10,
        }
    }
}
