//! The files: each parses, refers to what exists, and passes flags that the operator takes.

use std::path::PathBuf;

use clap::Parser;
use operator::cli::Args;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// The text of a file of `config/`.
pub fn read(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The objects of a file.
pub fn documents(name: &str) -> Vec<Value> {
    let documents = serde_saphyr::from_multiple(&read(name));
    documents.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The object of this kind in a file.
pub fn object(name: &str, kind: &str) -> Value {
    let mut each = documents(name).into_iter();
    let found = each.find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("{name} holds no {kind}"))
}

fn yaml_files() -> Vec<String> {
    let entries = std::fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".yaml")).collect()
}

fn container() -> Value {
    object("deployment.yaml", "Deployment")["spec"]["template"]["spec"]["containers"][0].clone()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[test]
fn each_file_holds_named_objects() {
    let files = yaml_files();
    assert!(files.len() >= 8, "{files:?}");
    for file in files.iter().filter(|file| *file != "kustomization.yaml") {
        for object in documents(file) {
            let name = object["metadata"]["name"].as_str();
            assert!(
                object["kind"].is_string() && name.is_some(),
                "{file}: {object}"
            );
        }
    }
}

#[test]
fn the_kustomization_lists_each_file_but_the_optional_one() {
    let kustomization = object("kustomization.yaml", "Kustomization");
    let mut listed: Vec<_> = items(&kustomization["resources"])
        .map(|file| file.as_str().unwrap().to_owned())
        .collect();
    let mut files = yaml_files();
    files.retain(|file| file != "kustomization.yaml" && file != "install.yaml");
    listed.sort();
    files.sort();
    assert_eq!(listed, files);
}

#[test]
fn the_operator_takes_each_flag_of_the_deployment() {
    let container = container();
    let flags: Vec<_> = items(&container["args"])
        .map(|flag| flag.as_str().unwrap())
        .collect();
    assert!(flags.len() >= 4, "{flags:?}");
    if let Err(error) = Args::try_parse_from(["operator"].iter().chain(&flags)) {
        panic!("{error}");
    }
}

#[test]
fn the_grace_period_is_longer_than_a_shutdown() {
    let container = container();
    let flags = items(&container["args"]).map(|flag| flag.as_str().unwrap());
    let args = Args::try_parse_from(["operator"].into_iter().chain(flags)).unwrap();
    let grace = &object("deployment.yaml", "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    let (reconciles, lease, reviews) =
        (args.drain_timeout, args.renew_deadline, args.drain_timeout);
    let shutdown = reconciles + lease + reviews;
    assert!(
        grace.as_u64() > Some(shutdown.as_secs()),
        "{grace} {shutdown:?}"
    );
}

#[test]
fn probes_volumes_and_services_refer_to_what_exists() {
    let container = container();
    let ports: Vec<_> = items(&container["ports"])
        .map(|port| &port["name"])
        .collect();
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        let probe = &container[probe]["httpGet"];
        assert_eq!(probe["path"], path);
        assert!(ports.contains(&&probe["port"]), "{probe}");
    }
    let listen =
        items(&container["args"]).find_map(|flag| flag.as_str()?.strip_prefix("--listen=0.0.0.0:"));
    let http = items(&container["ports"]).find(|port| port["name"] == "http");
    assert_eq!(
        listen.unwrap(),
        http.unwrap()["containerPort"].to_string(),
        "the probes ask the port on which the operator listens"
    );

    let deployment = object("deployment.yaml", "Deployment");
    let volumes: Vec<_> = items(&deployment["spec"]["template"]["spec"]["volumes"])
        .map(|volume| &volume["name"])
        .collect();
    for mount in items(&container["volumeMounts"]) {
        assert!(volumes.contains(&&mount["name"]), "{mount}");
    }

    let service = object("webhook.yaml", "Service");
    for port in items(&service["spec"]["ports"]) {
        assert!(ports.contains(&&port["targetPort"]), "{port}");
    }
    assert_eq!(
        service["spec"]["selector"],
        deployment["spec"]["template"]["metadata"]["labels"]
    );
    let monitor = object("servicemonitor.yaml", "ServiceMonitor");
    assert_eq!(
        monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"],
        "the ServiceMonitor selects the Service"
    );
    let scraped = &monitor["spec"]["endpoints"][0]["port"];
    assert!(items(&service["spec"]["ports"]).any(|port| port["name"] == *scraped));
}

/// The certificate is that of the Secret that is mounted, for the host that the API server asks.
#[test]
fn the_certificate_is_that_of_the_webhook() {
    let deployment = object("deployment.yaml", "Deployment");
    let certificate = object("certificate.yaml", "Certificate");
    let webhook = object("webhook.yaml", "ValidatingWebhookConfiguration");
    let secret = &deployment["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"];
    assert_eq!(certificate["spec"]["secretName"], *secret);

    let part = |value: &Value| value.as_str().unwrap().to_owned();
    let service = &webhook["webhooks"][0]["clientConfig"]["service"];
    let host = format!(
        "{}.{}.svc",
        part(&service["name"]),
        part(&service["namespace"])
    );
    assert_eq!(certificate["spec"]["dnsNames"][0], host);

    let metadata = &certificate["metadata"];
    let named = format!(
        "{}/{}",
        part(&metadata["namespace"]),
        part(&metadata["name"])
    );
    assert_eq!(
        webhook["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
        named
    );
    let issuer = object("certificate.yaml", "Issuer");
    assert_eq!(
        certificate["spec"]["issuerRef"]["name"],
        issuer["metadata"]["name"]
    );
}

#[test]
fn the_bindings_give_their_roles_to_the_account_of_the_deployment() {
    let deployment = object("deployment.yaml", "Deployment");
    let account = &deployment["spec"]["template"]["spec"]["serviceAccountName"];
    let namespace = &deployment["metadata"]["namespace"];
    for (file, role) in [
        ("rbac.yaml", "ClusterRole"),
        ("rbac.yaml", "Role"),
        ("install.yaml", "ClusterRole"),
    ] {
        let binding = object(file, &format!("{role}Binding"));
        assert_eq!(binding["roleRef"]["kind"], role);
        assert_eq!(
            binding["roleRef"]["name"],
            object(file, role)["metadata"]["name"]
        );
        let subject = &binding["subjects"][0];
        assert_eq!(
            (&subject["name"], &subject["namespace"]),
            (account, namespace)
        );
    }
}
