//! The name of this process among all replicas.

/// `host:pid:random`: distinct for each process, also where containers share host name and pid.
pub fn identity() -> String {
    let host = gethostname::gethostname();
    // Without a source of randomness host and pid must do.
    let random = getrandom::u32().unwrap_or_default();
    format!("{}:{}:{random:08x}", host.to_string_lossy(), std::process::id())
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_call_names_this_process_and_is_distinct() {
        let (one, other) = (super::identity(), super::identity());
        assert_ne!(one, other);
        let parts: Vec<&str> = one.split(':').collect();
        assert_eq!((parts.len(), parts[1].parse()), (3, Ok(std::process::id())));
    }
}
