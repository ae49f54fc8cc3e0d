//! The README, which is the front page too, and the example that runs.

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
