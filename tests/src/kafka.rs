//! A private Apache Kafka of one node (KRaft), fetched by Maven once and started by `java`: its own folder, free loopback
//! ports, gone with its value.
//!
//! Beside the open listener there is one with TLS and SASL: `reader` by PLAIN, `sender` by SCRAM-SHA-256 and SCRAM-SHA-512, and
//! either must show a certificate of the broker's authority.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    postgres::StartError,
    process::{Guard, free_port},
    tls::{Authority, Identity},
    wait,
};

/// The version that is tested against.
pub const VERSION: &str = "4.3.1";
/// Who may read by PLAIN, and the password.
pub const READER: (&str, &str) = ("reader", "se cret");
/// Who may send by SCRAM, and the password.
pub const SENDER: (&str, &str) = ("sender", "pencil");
/// How long a broker may take to answer.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// How long it may take to do what it is asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running broker.
pub struct Kafka {
    guard: Option<Guard>,
    dir: TempDir,
    libraries: PathBuf,
    port: u16,
    tls_port: u16,
}

/// The folder with Kafka's jars beside the built programs; filled by Maven the first time.
fn libraries() -> Result<PathBuf, StartError> {
    for program in ["java", "mvn"] {
        let found = Command::new(program).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Err(StartError::NotInstalled(program.into()));
        }
    }
    let own = std::env::current_exe()?;
    let built = own.ancestors().nth(3).unwrap_or(Path::new("."));
    let cache = built.join(format!("kafka-{VERSION}"));
    let jars = cache.join("jars");
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?; // another test may be fetching
    if jars.exists() {
        return Ok(jars);
    }
    let pom = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies><dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>\
         <version>{VERSION}</version></dependency></dependencies></project>\n"
    );
    fs::write(cache.join("pom.xml"), pom)?;
    let fresh = cache.join("jars.new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", fresh.display())).current_dir(&cache).stdin(Stdio::null());
    let out = maven.output()?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stdout).lines().take(5).collect::<Vec<_>>().join(" ");
        return Err(StartError::NotInstalled(format!("Kafka {VERSION}, which mvn could not fetch ({said}),")));
    }
    fs::rename(&fresh, &jars)?;
    Ok(jars)
}

impl Kafka {
    /// Formats a node and starts it.
    pub async fn start() -> Result<Kafka, StartError> {
        let libraries = libraries()?;
        let dir = tempfile::Builder::new().prefix("tw-kafka-").tempdir()?;
        let mut kafka = Kafka { guard: None, libraries, port: free_port()?, tls_port: free_port()?, dir };
        let authority = Authority::new(kafka.dir.path(), "kafka")?;
        let Identity { cert_file, key_file } = authority.issue("broker")?;
        authority.issue("client")?;
        fs::write(kafka.dir.path().join("broker.store"), [fs::read(key_file)?, fs::read(cert_file)?].concat())?;
        fs::write(kafka.properties_file(), kafka.properties(free_port()?))?;
        let mut format = kafka.java();
        format.args(["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAQACAAAAAAAAAAQ", "-c"]);
        format.arg(kafka.properties_file());
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            format.arg("--add-scram").arg(format!("{mechanism}=[name={},password={}]", SENDER.0, SENDER.1));
        }
        let out = format.output()?;
        if !out.status.success() {
            return Err(StartError::Failed(String::from_utf8_lossy(&out.stderr).into_owned()));
        }
        kafka.run().await?;
        Ok(kafka)
    }

    fn properties(&self, controller_port: u16) -> String {
        let (port, tls_port, folder) = (self.port, self.tls_port, self.dir.path().display());
        let jaas = "org.apache.kafka.common.security";
        let (reader, password) = READER;
        let open = format!("PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{tls_port}");
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listeners={open},CONTROLLER://127.0.0.1:{controller_port}\n\
             advertised.listeners={open}\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL\n\
             ssl.keystore.type=PEM\n\
             ssl.keystore.location={folder}/broker.store\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={folder}/ca.pem\n\
             listener.name.sasl_ssl.ssl.client.auth=required\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.sasl_ssl.plain.sasl.jaas.config={jaas}.plain.PlainLoginModule required \
             user_{reader}=\"{password}\";\n\
             listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={jaas}.scram.ScramLoginModule required;\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={jaas}.scram.ScramLoginModule required;\n\
             log.dirs={folder}/data\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=1\n\
             auto.create.topics.enable=false\n"
        )
    }

    fn properties_file(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    /// A small Java: one collector thread, no long compilations.
    fn java(&self) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(format!("{}/*", self.libraries.display()));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Starts it again after [`Kafka::stop`] or [`Kafka::kill`], on the same ports and data.
    pub async fn run(&mut self) -> Result<(), StartError> {
        let output = File::options().create(true).append(true).open(self.dir.path().join("kafka.out"))?;
        let mut command = self.java();
        command.arg("kafka.Kafka").arg(self.properties_file());
        command.stdout(output.try_clone()?).stderr(output);
        self.guard = Some(Guard::start(&mut command, Signal::TERM)?);
        let answered = wait::until(START_TIMEOUT, async || {
            if self.guard.as_mut().is_some_and(|g| g.ended().is_some()) {
                return Some(false);
            }
            // asked for only once something listens: a refused client would go on trying in a thread of its own
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            let admin = self.admin();
            let asking = move || admin.inner().fetch_metadata(None, Duration::from_secs(2)).map(|m| m.brokers().len());
            let brokers = tokio::task::spawn_blocking(asking).await.ok()?.ok()?;
            (brokers > 0).then_some(true)
        });
        match answered.await {
            Some(true) => Ok(()),
            _ => Err(StartError::Failed(self.output())),
        }
    }

    /// Stops it as an operator would.
    pub fn stop(&mut self) {
        self.guard = None;
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.signal(Signal::KILL);
            guard.stop();
        }
    }

    /// What it printed.
    pub fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("kafka.out")).unwrap_or_default()
    }

    /// Its open listener.
    pub fn broker(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its listener with TLS and SASL.
    pub fn tls_broker(&self) -> String {
        format!("127.0.0.1:{}", self.tls_port)
    }

    /// PEM of the authority that signed its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate it takes.
    pub fn identity(&self) -> Identity {
        let [cert_file, key_file] = ["client.pem", "client.key"].map(|name| self.dir.path().join(name));
        Identity { cert_file, key_file }
    }

    /// A configuration of clients of the open listener.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.broker());
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap_or_else(|e| unreachable!("a client without brokers can be made: {e}"))
    }

    /// Makes a topic.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> io::Result<()> {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let made = self.admin().create_topics([&topic], &AdminOptions::new().operation_timeout(Some(PATIENCE))).await;
        let made = made.map_err(io::Error::other)?;
        made.into_iter().try_for_each(|r| r.map(drop).map_err(|(topic, e)| io::Error::other(format!("{topic}: {e}"))))
    }

    /// Gives a topic more partitions.
    pub async fn grow_topic(&self, name: &str, partitions: usize) -> io::Result<()> {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let grown = self.admin().create_partitions([&NewPartitions::new(name, partitions)], &options).await;
        let grown = grown.map_err(io::Error::other)?;
        grown.into_iter().try_for_each(|r| r.map(drop).map_err(|(topic, e)| io::Error::other(format!("{topic}: {e}"))))
    }

    /// Puts a record into a partition.
    pub async fn put(&self, topic: &str, partition: i32, key: &str, value: &[u8]) -> io::Result<()> {
        let producer: FutureProducer = self.client().create().map_err(io::Error::other)?;
        let record = FutureRecord::to(topic).partition(partition).key(key).payload(value);
        producer.send(record, PATIENCE).await.map(drop).map_err(|(e, _)| io::Error::other(e))
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill(); // its folder goes too, so it need not close
    }
}
