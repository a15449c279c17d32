//! The yardstick for carrying bytes: nginx with mutual TLS on both sides, in front of the same provider.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;
use crate::process::Process;
use crate::scene::Scene;

/// Starts nginx: the machine's own, or Debian's package unpacked beside the bench's files. Nothing is installed.
pub fn start(scene: &Scene) -> Result<Process, Failure> {
    let folder = scene.stage.folder.join("nginx");
    std::fs::create_dir_all(&folder)?;
    let program = find(&folder)?;
    // Given back at once: nobody else takes ports on this machine while the bench runs, or the start fails and says so.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = folder.join("nginx.conf");
    std::fs::write(&config, text(scene, &folder, address))?;
    let (config, folder) = (config.display().to_string(), folder.display().to_string());
    Process::start_server(&program, &["-c", &config, "-p", &folder, "-e", "stderr"], address)
}

fn find(folder: &Path) -> Result<PathBuf, Failure> {
    let installed = PathBuf::from("/usr/sbin/nginx");
    if installed.is_file() {
        return Ok(installed);
    }
    let unpacked = folder.with_file_name("nginx-package");
    std::fs::create_dir_all(&unpacked)?;
    let run = |program: &str, args: &[&str]| -> Result<(), Failure> {
        let mut command = Command::new(program);
        command.args(args).current_dir(&unpacked).stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_ok_and(|status| status.success()) {
            return Ok(());
        }
        Err(format!("nginx is not installed, and `{program} {}` failed", args.join(" ")).into())
    };
    run("apt-get", &["download", "nginx"])?;
    for entry in std::fs::read_dir(&unpacked)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("nginx_") {
            run("dpkg-deb", &["-x", &name, "."])?;
        }
    }
    let program = unpacked.join("usr/sbin/nginx");
    if program.is_file() { Ok(program) } else { Err("Debian's package holds no nginx".into()) }
}

/// One process, buffers large enough for three tokens and a record, connections kept open on both sides.
fn text(scene: &Scene, folder: &Path, address: SocketAddr) -> String {
    let (pki, folder) = (scene.stage.pki().display().to_string(), folder.display().to_string());
    let provider = scene.provider.address;
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    large_client_header_buffers 4 32k;
    upstream provider {{
        server {provider};
        keepalive 128;
        keepalive_requests 1000000;
    }}
    server {{
        listen {address} ssl;
        ssl_protocols TLSv1.3;
        ssl_session_tickets off;
        ssl_certificate {pki}/gateway/channel.pem;
        ssl_certificate_key {pki}/gateway/channel.key.pem;
        ssl_client_certificate {pki}/ca/channel.pem;
        ssl_crl {pki}/ca/channel.crl.pem;
        ssl_verify_client on;
        location / {{
            proxy_pass https://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_certificate {pki}/gateway/channel.pem;
            proxy_ssl_certificate_key {pki}/gateway/channel.key.pem;
            proxy_ssl_trusted_certificate {pki}/ca/channel.pem;
            proxy_ssl_name localhost;
            proxy_ssl_verify on;
            proxy_buffer_size 32k;
            proxy_buffers 8 32k;
        }}
    }}
}}
"
    )
}
