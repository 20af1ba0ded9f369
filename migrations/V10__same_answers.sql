-- What it takes to know a page's answer again, and to store it as one that says the same.
alter table pagemill.pages
    -- xxh3 over the answer but for the id of its request, and how many bytes stand before that and after it.
    -- NULL on pages of before, and where an answer does not say all there is to its page.
    add column imprint bigint,
    add column imprint_before int,
    add column imprint_after int;
alter table pagemill.partitions
    -- The sealed attempt whose rows stood in the table untouched when this one's pages were published.
    add column stands_on bigint,
    -- Every transaction before this had ended when that was looked at.
    add column stands_since xid8;
comment on column pagemill.pages.horizon is
    'Rows of the page that its own transaction did not write are older than this: every transaction before it had ended when they were looked at.';
