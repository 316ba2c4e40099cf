//! One small program a capability; see the folder.
