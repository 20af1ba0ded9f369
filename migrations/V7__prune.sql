-- What a prune has decided and not done yet: the next prune goes on with what a killed one left.
create table pagemill.pruning (
    partition bigint primary key,
    action    text not null check (action in ('responses', 'pages', 'attempt'))
);
