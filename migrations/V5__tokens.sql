-- Tokens of sources that rotate them, one row a credential: an access token, and the refresh token
-- that buys the next pair. Both are encrypted with a key that is never in the database, bound to
-- their row.
create table pagemill.tokens (
    source             text not null,
    credential         text not null,
    access_token       bytea not null,
    -- On this database's clock; NULL where the API doesn't say.
    access_expires_at  timestamptz,
    refresh_token      bytea,
    refresh_expires_at timestamptz,
    -- The accounts that the API named with the tokens.
    accounts           text[] not null default '{}',
    -- Raised with every new pair: replicas tell by it whether the one they hold is still the newest.
    version            bigint not null default 1,
    -- Who buys the next pair now. A claim that ran out, because its holder died, is anybody's.
    refreshing_until   timestamptz,
    refreshing_by      text,
    -- When this pair was stored.
    refreshed_at       timestamptz not null default now(),
    primary key (source, credential)
) with (fillfactor = 50);
