//! The whole system from outside: the real binaries on a real RabbitMQ and PostgreSQL, against the
//! simulator. `make test` brings the servers.

mod bad_input;
mod chains;
mod consumers;
mod crash;
mod dead_letters;
mod embedded;
mod faults;
mod layout;
mod lost_jobs;
mod misbehaviour;
mod network;
mod outside;
mod plan;
mod platforms;
mod private_broker;
mod producer;
mod prune;
mod quota;
mod refusals;
mod reload;
mod replaced;
mod tokens;
mod world;
