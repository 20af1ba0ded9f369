-- What a page of a later attempt that says the same must know, to leave rows alone that nobody has written
-- since. NULL on pages of before.
alter table pagemill.pages
    -- The transaction that stored the page; it wrote those of its rows that were not there as they are.
    add column written xid8,
    -- The others are older than this: every transaction before it had ended when they were looked at.
    add column horizon xid8,
    -- Which meaning of the stream's definition its rows were made by, as on bodies.
    add column definition bigint;
