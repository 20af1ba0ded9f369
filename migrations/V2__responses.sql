-- Stored responses: the body of each page's response as it came, zstd. Evidence, and the means to
-- rebuild a table without a request.
create table pagemill.responses (
    partition   bigint not null,
    page        int    not null,
    body        bytea  not null,
    -- The decoding that made the page's rows; NULL where it is not known. A response that was decoded
    -- otherwise than today is read again by a reload.
    decode_hash bigint,
    primary key (partition, page)
) partition by range (partition);
-- Already compressed: PostgreSQL need not try.
alter table pagemill.responses alter column body set storage external;
create table pagemill.responses_default partition of pagemill.responses default;
