//! What a user reads after a mistake. `TRYBUILD=overwrite` writes the `.stderr` anew; read them before keeping them.

#[test]
fn each_mistake_is_shown_where_it_is_with_what_would_be_right() {
    trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
}
