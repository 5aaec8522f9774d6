//! Our server alone, on free ports, its data in a folder of its own.

use ingest::admission::Clock;
use serde_json::Value;
use server::{
    config::{Config, Overrides},
    serve::{self, Server},
};

use super::samples::{Series, write_request};

/// A server that answers.
pub struct Own {
    /// It.
    pub server: Server,
    /// Where its HTTP API is.
    pub url: String,
    /// Asks it.
    pub client: reqwest::Client,
    /// What is its own.
    pub folder: tempfile::TempDir,
}

impl Own {
    /// Starts one in `folder` with a config file of this text.
    pub async fn start(folder: tempfile::TempDir, config: &str, clock: Clock) -> Own {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let free = Some("127.0.0.1:0".parse().unwrap());
        let file = folder.path().join("tidewatch.yaml").display().to_string();
        let data_dir = Some(folder.path().join("data"));
        let config = Config::parse(&file, config).unwrap();
        let config = config.with(Overrides { data_dir, http_listen: free, grpc_listen: free, ..Overrides::default() });
        let server = serve::start(config, "self".into(), clock).await.unwrap();
        let url = format!("http://{}", server.http);
        Own { server, url, client: reqwest::Client::new(), folder }
    }

    /// Writes series by remote write.
    pub async fn write(&self, series: &[Series]) {
        write(&self.client, &self.url, series).await;
    }

    /// Status and body of a GET.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> (u16, Value) {
        read(self.client.get(format!("{}{path}", self.url)).query(query)).await
    }

    /// Status and body of a POST of a form.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
        read(self.client.post(format!("{}{path}", self.url)).form(form)).await
    }

    /// `data` of a GET that must succeed.
    pub async fn data(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let (status, mut body) = self.get(path, query).await;
        assert_eq!((status, body["status"].as_str()), (200, Some("success")), "{path} {query:?}: {body}");
        body["data"].take()
    }

    /// Stops it; its folder goes.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

async fn read(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Writes series to the remote-write door of a server.
pub async fn write(client: &reqwest::Client, url: &str, series: &[Series]) {
    write_bytes(client, url, &write_request(series)).await;
}

/// Writes a request of remote write 1.0, compressed.
pub async fn write_bytes(client: &reqwest::Client, url: &str, request: &[u8]) {
    let request = client.post(format!("{url}/api/v1/write")).body(request.to_owned());
    let request = request.header("content-encoding", "snappy").header("content-type", "application/x-protobuf");
    let answer = request.header("x-prometheus-remote-write-version", "0.1.0").send().await.unwrap();
    let status = answer.status();
    assert!(status.is_success(), "{url}: {status} {}", answer.text().await.unwrap());
}
