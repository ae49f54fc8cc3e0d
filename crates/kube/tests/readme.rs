//! The pages: the README, which is the front page too, beside the example that runs, and the promises beside their tests.

/// The lines of a function, from its signature to its end.
fn function<'a>(text: &'a str, signature: &str) -> &'a str {
    let start = text.find(signature).expect("the function is there");
    let text = &text[start..];
    let end = text.find("\n}\n").expect("the function ends");
    &text[..end]
}

#[test]
fn the_readme_reconciles_as_the_example_does() {
    let signature = "async fn reconcile(";
    let readme = function(include_str!("../README.md"), signature);
    let example = function(include_str!("../examples/minimal.rs"), signature);
    assert_eq!(readme, example);
}

#[test]
fn each_promise_names_a_test_that_exists() {
    let tests = [
        include_str!("operator/order.rs"),
        include_str!("operator/terms.rs"),
        include_str!("operator/watching.rs"),
        include_str!("operator/writing.rs"),
        include_str!("election/main.rs"),
        include_str!("../src/budget/tests/refusals.rs"),
        include_str!("../src/rbac/tests.rs"),
    ];
    let page = include_str!("../src/guide/promises.md");
    let rows: Vec<_> = page.lines().filter(|line| line.contains(".rs`")).collect();
    assert!(rows.len() >= 14, "{rows:?}");
    for row in rows {
        let names = row
            .split('`')
            .filter(|name| name.contains('_') && !name.contains(".rs"));
        let mut count = 0;
        for name in names {
            let signature = format!("fn {name}()");
            assert!(tests.iter().any(|text| text.contains(&signature)), "{name}");
            count += 1;
        }
        assert!(count > 0, "{row}");
    }
}
