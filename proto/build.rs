//! Compiles the wire's .proto file without protoc.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/tidewatch.proto");
    let files = protox::compile(["proto/tidewatch.proto"], ["proto"])?;
    tonic_prost_build::configure().bytes(".tidewatch.v1.CollectorMessage").compile_fds(files)?;
    Ok(())
}
