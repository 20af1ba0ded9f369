-- By which transaction a page's rows were written: a page of a later attempt that says the same leaves
-- those alone that nobody has written since. NULL on pages of before.
alter table pagemill.pages add column written xid8;
