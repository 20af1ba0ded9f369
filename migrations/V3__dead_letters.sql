-- Dead letters: page jobs that are not tried again by themselves, and messages that are none.
create table pagemill.dead_letters (
    id              bigint generated always as identity primary key,
    -- The message's id on the queue, by which copies are recognised.
    message_id      text not null unique,
    -- The message itself.
    message         bytea not null,
    -- NULL where the message could not be decoded.
    partition       bigint,
    source          text not null,
    stream          text,
    account         text,
    page            int,
    attempts        int  not null,
    error           text not null,
    fingerprint     text not null,
    first_failed_at timestamptz not null,
    last_failed_at  timestamptz not null,
    -- Accepted by the dead-letter queue.
    confirmed_at    timestamptz,
    -- An operator requeued it, and its lane accepted the job.
    requeued_at     timestamptz,
    published_at    timestamptz,
    dropped_at      timestamptz
);
create index dead_letters_open on pagemill.dead_letters (source, fingerprint)
    where requeued_at is null and dropped_at is null;
create index dead_letters_partition on pagemill.dead_letters (partition);
