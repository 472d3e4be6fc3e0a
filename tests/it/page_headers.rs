//! What a browser is told beside the page: what it may load, that it has a file already, and the file compressed.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use server::Limits;
use server::access::policy::AccessPolicy;
use tests::Server;
use tests::puppet::Puppet;
use tests::raw::Raw;
use tokio::io::AsyncReadExt;

/// The lines of an answer's head, with names in lower case.
fn lines(head: &str) -> Vec<(String, &str)> {
    head.lines().filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value)).collect()
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    lines(head).into_iter().find(|(there, _)| there == name).map(|(_, value)| value)
}

#[tokio::test]
async fn every_answer_is_taken_as_what_it_is_and_tells_no_site_of_its_address() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    for path in ["/", "/src/main.js", "/style.css", "/nothing", "/health", "/v1/models", "/v1/realtime_video"] {
        let (head, _body) = Raw::get(server.address, path).await?;
        ensure!(value(&head, "x-content-type-options") == Some("nosniff"), "{path}: {head}");
        ensure!(value(&head, "referrer-policy") == Some("no-referrer"), "{path}: {head}");
    }
    Ok(())
}

#[tokio::test]
async fn the_page_may_load_from_its_server_alone_and_stand_in_frames_of_the_named_origins() -> Result<()> {
    let framed = |origins: &[&str]| -> Result<AccessPolicy> {
        let origins = origins.iter().map(|origin| origin.parse().map_err(anyhow::Error::msg)).collect::<Result<_>>()?;
        Ok(AccessPolicy { origins, ..AccessPolicy::default() })
    };
    for (origins, ancestors) in
        [(&[][..], "frame-ancestors 'self'"), (&["https://a.example"], "frame-ancestors 'self' https://a.example")]
    {
        let limits = Limits { access: framed(origins)?, ..Limits::default() };
        let (server, _strings) = Server::limited(Puppet::default(), limits)?;
        let (head, _body) = Raw::get(server.address, "/").await?;
        let policy = value(&head, "content-security-policy").context("a policy")?;
        let directives: Vec<&str> = policy.split("; ").collect();
        let sockets = format!("connect-src 'self' ws://{0} wss://{0}", server.address);
        for directive in ["default-src 'self'", "worker-src 'self'", "object-src 'none'", &sockets, ancestors] {
            ensure!(directives.contains(&directive), "{directive} is not in {policy}");
        }
        ensure!(!policy.contains("unsafe"), "{policy}");
    }
    Ok(())
}

/// Head and body of a file, asked for with these header lines.
async fn file(address: SocketAddr, path: &str, headers: &[&str]) -> Result<(String, Vec<u8>)> {
    let headers = [headers, &["Connection: close"]].concat();
    let (mut raw, head) = Raw::ask(address, path, &headers).await?;
    let mut body = Vec::new();
    raw.stream.read_to_end(&mut body).await?;
    Ok((head, body))
}

#[tokio::test]
async fn a_file_comes_compressed_and_only_once() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    for path in ["/", "/src/main.js", "/style.css"] {
        let (plain, whole) = file(server.address, path, &[]).await?;
        ensure!(value(&plain, "content-encoding").is_none(), "{plain}");
        let (head, body) = file(server.address, path, &["Accept-Encoding: gzip, br"]).await?;
        ensure!(value(&head, "content-encoding") == Some("gzip"), "{path}: {head}");
        ensure!(value(&head, "vary") == Some("accept-encoding"), "{path}: {head}");
        ensure!(body.starts_with(&[0x1f, 0x8b]), "{path} is not gzip");
        ensure!(body.len() < whole.len() * 2 / 3, "{path}: {} of {} bytes", body.len(), whole.len());
        let tag = value(&head, "etag").context("a tag")?;
        ensure!(Some(tag) != value(&plain, "etag"), "two forms have one tag");
        let known = format!("If-None-Match: {tag}");
        let (head, body) = file(server.address, path, &["Accept-Encoding: gzip, br", &known]).await?;
        ensure!(head.starts_with("HTTP/1.1 304 ") && body.is_empty(), "{path}: {head}");
    }
    Ok(())
}
