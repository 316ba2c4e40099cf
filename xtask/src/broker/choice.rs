//! Which node xtask runs.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// The service in docker-compose.yml.
    Compose,
    /// A private node of the rabbitmq-server that is installed.
    Installed,
    /// A private node, once rabbitmq-server is installed.
    Install,
    /// None: the given broker has to do.
    Nothing,
}

/// The first that applies. What is not needed for the answer is not asked: a Docker engine may take seconds to answer.
///
/// Where a broker is given (by `AMQP_URL`), a node is needed beside it only for faults. Then a private one comes first,
/// since it restarts faster than a container, and nothing is installed for it.
pub(super) fn choose(
    given: bool,
    engine_answers: impl FnOnce() -> bool,
    is_installed: impl FnOnce() -> bool,
) -> Choice {
    if given {
        if is_installed() {
            Choice::Installed
        } else if engine_answers() {
            Choice::Compose
        } else {
            Choice::Nothing
        }
    } else if engine_answers() {
        Choice::Compose
    } else if is_installed() {
        Choice::Installed
    } else {
        Choice::Install
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_answers_comes_before_an_installed_server() {
        assert_eq!(choose(false, || true, || true), Choice::Compose);
        assert_eq!(choose(false, || false, || true), Choice::Installed);
    }

    #[test]
    fn a_server_is_installed_only_where_nothing_else_is() {
        assert_eq!(choose(false, || false, || false), Choice::Install);
        assert_eq!(choose(true, || false, || false), Choice::Nothing);
    }

    #[test]
    fn beside_a_given_broker_a_private_node_comes_first() {
        assert_eq!(choose(true, || true, || true), Choice::Installed);
        assert_eq!(choose(true, || true, || false), Choice::Compose);
    }
}
