//! Other names of the same tensors: Wan's VAE and T5 as first published, against the names of diffusers and transformers.
//!
//! The diffusion transformer needs nothing here: both layouts store it under Wan's own names.

/// Which names a file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// The names that networks ask for.
    Published,
    /// `Wan2.1_VAE`
    OriginalVae,
    /// `models_t5_umt5-xxl-enc-bf16`
    OriginalText,
}

impl Naming {
    pub(super) fn detect(has: impl Fn(&str) -> bool) -> Naming {
        if has("token_embedding.weight") && !has("shared.weight") {
            Naming::OriginalText
        } else if has("conv1.weight") && !has("quant_conv.weight") {
            Naming::OriginalVae
        } else {
            Naming::Published
        }
    }

    /// The published name of a stored tensor. A name that follows no rule stays as it is, and is then one too many.
    pub(super) fn published(self, stored: &str) -> String {
        let published = match self {
            Naming::Published => None,
            Naming::OriginalVae => vae(stored),
            Naming::OriginalText => text(stored),
        };
        published.unwrap_or_else(|| stored.to_owned())
    }
}

/// Wan numbers a decoder's layers in one row: three resnets and an upsampler, four times, the last without upsampler.
const DECODER_STAGE: usize = 4;

fn vae(stored: &str) -> Option<String> {
    if let Some(rest) = stored.strip_prefix("conv1.") {
        return Some(format!("quant_conv.{rest}"));
    }
    if let Some(rest) = stored.strip_prefix("conv2.") {
        return Some(format!("post_quant_conv.{rest}"));
    }
    let (half, rest) = stored.split_once('.')?;
    let (part, rest) = rest.split_once('.')?;
    let renamed = match part {
        "conv1" => format!("conv_in.{rest}"),
        "head" => match rest.split_once('.')? {
            ("0", rest) => format!("norm_out.{rest}"),
            ("2", rest) => format!("conv_out.{rest}"),
            _ => return None,
        },
        "middle" => match rest.split_once('.')? {
            ("0", rest) => format!("mid_block.resnets.0.{}", inside_block(rest)),
            ("1", rest) => format!("mid_block.attentions.0.{rest}"),
            ("2", rest) => format!("mid_block.resnets.1.{}", inside_block(rest)),
            _ => return None,
        },
        "downsamples" => {
            let (number, rest) = rest.split_once('.')?;
            format!("down_blocks.{number}.{}", inside_block(rest))
        }
        "upsamples" => {
            let (number, rest) = rest.split_once('.')?;
            let number: usize = number.parse().ok()?;
            let (stage, layer) = (number / DECODER_STAGE, number % DECODER_STAGE);
            if layer + 1 < DECODER_STAGE {
                format!("up_blocks.{stage}.resnets.{layer}.{}", inside_block(rest))
            } else {
                format!("up_blocks.{stage}.upsamplers.0.{rest}")
            }
        }
        _ => return None,
    };
    Some(format!("{half}.{renamed}"))
}

fn inside_block(rest: &str) -> String {
    const RENAMED: [(&str, &str); 5] = [
        ("residual.0.", "norm1."),
        ("residual.2.", "conv1."),
        ("residual.3.", "norm2."),
        ("residual.6.", "conv2."),
        ("shortcut.", "conv_shortcut."),
    ];
    let renamed = RENAMED.iter().find_map(|(old, new)| Some(format!("{new}{}", rest.strip_prefix(old)?)));
    renamed.unwrap_or_else(|| rest.to_owned())
}

fn text(stored: &str) -> Option<String> {
    match stored {
        "token_embedding.weight" => return Some("shared.weight".to_owned()),
        "norm.weight" => return Some("encoder.final_layer_norm.weight".to_owned()),
        _ => {}
    }
    let (layer, rest) = stored.strip_prefix("blocks.")?.split_once('.')?;
    let rest = match rest {
        "norm1.weight" => "layer.0.layer_norm.weight",
        "attn.q.weight" => "layer.0.SelfAttention.q.weight",
        "attn.k.weight" => "layer.0.SelfAttention.k.weight",
        "attn.v.weight" => "layer.0.SelfAttention.v.weight",
        "attn.o.weight" => "layer.0.SelfAttention.o.weight",
        "pos_embedding.embedding.weight" => "layer.0.SelfAttention.relative_attention_bias.weight",
        "norm2.weight" => "layer.1.layer_norm.weight",
        "ffn.gate.0.weight" => "layer.1.DenseReluDense.wi_0.weight",
        "ffn.fc1.weight" => "layer.1.DenseReluDense.wi_1.weight",
        "ffn.fc2.weight" => "layer.1.DenseReluDense.wo.weight",
        _ => return None,
    };
    Some(format!("encoder.block.{layer}.{rest}"))
}
