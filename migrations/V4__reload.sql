-- What reloading needs: a stored answer whose rows' columns were made by another definition than the
-- current one is read again.
alter table pagemill.bodies
    -- Which meaning of the stream's definition the rows were made by; NULL where it is not known.
    add column definition bigint;
