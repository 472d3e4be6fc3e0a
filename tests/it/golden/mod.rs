mod vae;

#[test]
fn the_autoencoder_agrees_with_the_reference() {
    let Some(dir) = std::env::var_os("CAUSEWAY_GOLDEN_DIR") else { return };
    vae::check_vae(&std::path::Path::new(&dir).join("lingbot"));
}

#[test]
fn the_pocket_autoencoder_agrees_with_the_reference() {
    let Some(dir) = std::env::var_os("CAUSEWAY_GOLDEN_DIR") else { return };
    let dir = std::path::Path::new(&dir);
    vae::check_vae_stream(&dir.join("pocket-v0"), &dir.join("../pocket-v0"));
}
