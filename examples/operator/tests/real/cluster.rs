//! etcd and kube-apiserver, shared by the tests of this file.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use operator::operator::install_crds;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::process::{Process, free_ports};
use crate::user::User;

/// Users without rights of their own: one for each operator that a test starts.
const OPERATORS: usize = 60;
/// Every start of a server ends within this.
const START: Duration = Duration::from_secs(60);

/// What an operator asks of the server is recorded: user, verb, object and answer.
const AUDIT_POLICY: &str = r#"{
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{ "level": "Metadata", "userGroups": ["operators"] }, { "level": "None" }]
}"#;

/// A running API server.
pub struct Cluster {
    pub api: u16,
    etcd: u16,
    folder: PathBuf,
    assets: PathBuf,
    // Dropped in this order: etcd removes the folder.
    api_server: Mutex<Option<Process>>,
    _etcd: Process,
    operators: AtomicUsize,
    /// What the operator said before its CustomResourceDefinitions were installed.
    pub without_crds: Output,
}

/// The server of all tests; `None`, and a line that says so, if there is none to start.
pub async fn cluster() -> Option<&'static Cluster> {
    static CLUSTER: OnceCell<Option<Cluster>> = OnceCell::const_new();
    let start = || async {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|path| !path.is_empty());
        match assets {
            Some(assets) => Some(Cluster::start(assets.into()).await),
            None => {
                static ONCE: Once = Once::new();
                // Not `eprintln!`, which the test harness captures.
                let line = "skipped: KUBEBUILDER_ASSETS is not set\n";
                ONCE.call_once(|| drop(std::io::stderr().write_all(line.as_bytes())));
                None
            }
        }
    };
    CLUSTER.get_or_init(start).await.as_ref()
}

impl Cluster {
    async fn start(assets: PathBuf) -> Self {
        let folder = std::env::temp_dir().join(format!("tollgate-real-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("certs")).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(folder.join("sa.key"), key.serialize_pem()).unwrap();
        std::fs::write(folder.join("sa.pub"), key.public_key_pem()).unwrap();
        std::fs::write(folder.join("audit.json"), AUDIT_POLICY).unwrap();
        let users =
            (0..OPERATORS).map(|n| format!("operator-{n},operator-{n},operator-{n},operators\n"));
        let users: String = users.collect();
        std::fs::write(
            folder.join("tokens.csv"),
            format!("admin,admin,admin,system:masters\n{users}"),
        )
        .unwrap();

        let [etcd, peers, api] = free_ports();
        let (url, peers) = (
            format!("http://127.0.0.1:{etcd}"),
            format!("http://127.0.0.1:{peers}"),
        );
        let flags = [
            "--name=default".to_owned(),
            format!("--data-dir={}", folder.join("etcd").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            "--unsafe-no-fsync".to_owned(),
        ];
        let process = Process::start(
            &assets.join("etcd"),
            &flags,
            &folder.join("etcd.log"),
            Some(&folder),
        );
        let mut cluster = Self {
            api,
            etcd,
            folder,
            assets,
            api_server: Mutex::new(None),
            _etcd: process,
            operators: AtomicUsize::new(0),
            without_crds: Output {
                status: Default::default(),
                stdout: Vec::new(),
                stderr: Vec::new(),
            },
        };
        cluster.start_api_server();
        cluster.wait_until_ready().await;
        cluster.without_crds = cluster.run_without_crds().await;
        install_crds(&cluster.client("admin", cluster.api).await)
            .await
            .unwrap();
        let admin = cluster.admin().await;
        // A kind that was installed just now is listed before it can be watched.
        for kind in ["databases", "backups"] {
            let watch = format!("/apis/example.com/v1/{kind}?watch=true&timeoutSeconds=1");
            while admin.text(&watch).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        admin
            .create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role())
            .await
            .unwrap();
        cluster
    }

    /// Starts the API server again, or for the first time. It is not ready yet.
    pub fn start_api_server(&self) {
        let folder = |name: &str| self.folder.join(name).display().to_string();
        let flags = [
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.api),
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd),
            format!("--cert-dir={}", folder("certs")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            format!("--service-account-issuer=https://127.0.0.1:{}/", self.api),
            format!("--service-account-key-file={}", folder("sa.pub")),
            format!("--service-account-signing-key-file={}", folder("sa.key")),
            "--authorization-mode=RBAC".to_owned(),
            format!("--token-auth-file={}", folder("tokens.csv")),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--audit-policy-file={}", folder("audit.json")),
            format!("--audit-log-path={}", folder("audit.log")),
        ];
        let log = self.folder.join("kube-apiserver.log");
        let process = Process::start(&self.assets.join("kube-apiserver"), &flags, &log, None);
        *self
            .api_server
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    /// Kills the API server.
    pub fn stop_api_server(&self) {
        *self
            .api_server
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits until the server is ready.
    pub async fn wait_until_ready(&self) {
        let deadline = Instant::now() + START;
        loop {
            // The server writes its certificate first.
            if self.certificate().is_some() && self.admin().await.text("/readyz").await.is_ok() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the API server is not ready: {}",
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Forgets all revisions of objects but the present ones.
    pub async fn compact(&self) {
        let url = format!("http://127.0.0.1:{}", self.etcd);
        let etcd = User(Client::try_from(Config::new(url.parse().unwrap())).unwrap());
        let found = etcd
            .create("/v3/kv/range", json!({ "key": "AA==" }))
            .await
            .unwrap();
        let compaction = json!({ "revision": found["header"]["revision"], "physical": true });
        etcd.create("/v3/kv/compaction", compaction).await.unwrap();
    }

    fn certificate(&self) -> Option<String> {
        std::fs::read_to_string(self.folder.join("certs/apiserver.crt")).ok()
    }

    fn log_tail(&self) -> String {
        let log =
            std::fs::read_to_string(self.folder.join("kube-apiserver.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The name of a user for one more operator.
    pub fn next_operator(&self) -> String {
        let n = self.operators.fetch_add(1, Ordering::Relaxed);
        assert!(n < OPERATORS, "more operators than users");
        format!("operator-{n}")
    }

    /// The kubeconfig of `user`, with the server on `port`.
    pub fn kubeconfig(&self, user: &str, port: u16) -> Value {
        let certificate = self.folder.join("certs/apiserver.crt");
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "contexts": [{ "name": "real", "context": { "cluster": "real", "user": user } }],
            "clusters": [{ "name": "real", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority": certificate,
            } }],
            "users": [{ "name": user, "user": { "token": user } }],
        })
    }

    /// The file of [`kubeconfig`](Self::kubeconfig).
    pub fn kubeconfig_file(&self, user: &str) -> PathBuf {
        let file = self.folder.join(format!("{user}.kubeconfig"));
        std::fs::write(&file, self.kubeconfig(user, self.api).to_string()).unwrap();
        file
    }

    pub async fn config(&self, user: &str, port: u16) -> Config {
        let kubeconfig: Kubeconfig = serde_json::from_value(self.kubeconfig(user, port)).unwrap();
        let options = KubeConfigOptions::default();
        Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .unwrap()
    }

    async fn client(&self, user: &str, port: u16) -> Client {
        let mut config = self.config(user, port).await;
        // A user sees the answers as they are.
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    /// A user that may do everything.
    pub async fn admin(&self) -> User {
        self.user("admin").await
    }

    pub async fn user(&self, name: &str) -> User {
        User(self.client(name, self.api).await)
    }

    /// What `user` has asked for, in order, but for leases.
    pub fn asked(&self, user: &str) -> Vec<Asked> {
        self.audit(user)
            .into_iter()
            .filter(|asked| asked.resource != "leases")
            .collect()
    }

    /// What `user` has asked for, in order.
    pub fn audit(&self, user: &str) -> Vec<Asked> {
        let log = std::fs::read_to_string(self.folder.join("audit.log")).unwrap_or_default();
        // The last line may be incomplete.
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours = events.filter(|event| event["user"]["username"] == user);
        ours.map(|event| Asked::of(&event)).collect()
    }

    async fn run_without_crds(&self) -> Output {
        self.run_to_its_end(&[])
    }

    /// Runs the operator with flags that end it at its start.
    pub fn run_to_its_end(&self, flags: &[&str]) -> Output {
        let file = self.kubeconfig_file("admin");
        let operator = Command::new(env!("CARGO_BIN_EXE_operator"))
            .args(["--no-election", "--start-timeout", "0", "--kubeconfig"])
            .arg(file)
            .args(flags)
            .output();
        operator.unwrap()
    }
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Asked {
    pub verb: String,
    pub resource: String,
    pub code: u64,
}

impl Asked {
    fn of(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let resource = match object["subresource"].as_str() {
            Some(part) => format!("{}/{part}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        Self {
            verb: text(&event["verb"]),
            resource,
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        }
    }

    pub fn writes(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }
}

/// What an operator needs.
fn role() -> Value {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    let child = ["get", "list", "watch", "create", "patch"];
    json!({
        "metadata": { "name": "operator" },
        "rules": [
            rule("example.com", &["databases", "backups"], &["list", "watch", "patch"]),
            rule("example.com", &["databases/status", "backups/status"], &["patch"]),
            rule("", &["configmaps", "services"], &child),
            rule("apps", &["statefulsets"], &child),
            rule("apps", &["statefulsets"], &["delete"]),
            rule("batch", &["cronjobs"], &child),
            rule("batch", &["jobs"], &["list", "delete"]),
            rule("coordination.k8s.io", &["leases"], &["get", "create", "update"]),
            rule("events.k8s.io", &["events"], &["create", "patch"]),
        ],
    })
}
