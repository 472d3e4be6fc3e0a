//! Positions on three axes: time, row and column share the pairs of a head, dealt out in turn.
//!
//! Text stands on the diagonal. A picture stands 15 000 places behind the text in time, and rows and columns begin at 0 again,
//! so that the two never meet. At such positions a step of f32 is a thousandth of an angle: everything is computed in the
//! order and the type of the reference, <https://github.com/huggingface/diffusers>, `transformer_cosmos3.py`.

use ops::rope_halves::HalvesRotary;
use ops::{Device, Result};

use super::config::transformer::{PATCH, TransformerConfig};

/// Where every token stands: as many numbers on each axis as there are tokens.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Positions {
    /// On the axes time, row and column.
    pub axes: [Vec<f32>; 3],
}

/// What a video's positions depend on, the length of the text before it aside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Latent frames.
    pub frames: usize,
    /// Height of a latent frame, in latent pixels.
    pub height: usize,
    /// Width of a latent frame, in latent pixels.
    pub width: usize,
    /// Video frames a second. A single picture has no use for it.
    pub fps: Option<f64>,
    /// Video frames of a latent frame.
    pub temporal_factor: usize,
}

impl Grid {
    /// Tokens of a latent frame.
    pub fn tokens_a_frame(&self) -> usize {
        self.height.div_ceil(PATCH) * self.width.div_ceil(PATCH)
    }

    /// Tokens in all.
    pub fn tokens(&self) -> usize {
        self.frames * self.tokens_a_frame()
    }
}

/// Turns positions into angles.
#[derive(Debug, Clone)]
pub struct Mrope {
    /// One a pair of a head.
    frequencies: Vec<f32>,
    /// Pairs that the row and the column are given.
    section: [usize; 2],
    base_fps: f64,
    fps_modulation: bool,
    margin: usize,
}

impl Mrope {
    /// The frequencies of this transformer.
    pub fn new(config: &TransformerConfig) -> Mrope {
        let dim = config.head_dim;
        // The exponent in f32, as the reference has it; the power in f64 by `libm`, the same on every machine.
        let frequency = |pair: usize| {
            let exponent = (2 * pair) as f32 / dim as f32;
            1.0 / libm::pow(config.rope_theta, f64::from(exponent)) as f32
        };
        let [_, rows, columns] = config.mrope_section;
        Mrope {
            frequencies: (0..dim / 2).map(frequency).collect(),
            section: [rows, columns],
            base_fps: config.base_fps,
            fps_modulation: config.fps_modulation,
            margin: config.modality_margin,
        }
    }

    /// Of a text: token `n` stands at `n` on every axis.
    pub fn text(&self, tokens: usize) -> Positions {
        let diagonal: Vec<f32> = (0..tokens).map(|token| token as f32).collect();
        Positions { axes: [diagonal.clone(), diagonal.clone(), diagonal] }
    }

    /// Of a video behind a text of `text` tokens: frame by frame, row by row.
    pub fn video(&self, text: usize, grid: &Grid) -> Positions {
        let offset = (text + self.margin) as f32;
        let factor = grid.temporal_factor as f64;
        let time = |frame: usize| match grid.fps.filter(|_| self.fps_modulation && grid.frames > 1) {
            Some(fps) => frame as f32 / (fps / factor) as f32 * (self.base_fps / factor) as f32 + offset,
            None => (frame + text + self.margin) as f32,
        };
        let mut positions = Positions::default();
        for frame in 0..grid.frames {
            for row in 0..grid.height.div_ceil(PATCH) {
                for column in 0..grid.width.div_ceil(PATCH) {
                    for (axis, at) in positions.axes.iter_mut().zip([time(frame), row as f32, column as f32]) {
                        axis.push(at);
                    }
                }
            }
        }
        positions
    }

    /// Cosines and sines at these positions.
    pub fn rotary(&self, positions: &Positions, device: &Device) -> Result<HalvesRotary> {
        let [time, rows, columns] = &positions.axes;
        let [row_pairs, column_pairs] = self.section;
        let mut angles = Vec::with_capacity(time.len() * self.frequencies.len());
        for ((time, row), column) in time.iter().zip(rows).zip(columns) {
            for (pair, frequency) in self.frequencies.iter().enumerate() {
                // Pairs 1, 4, 7, … are the row's and 2, 5, 8, … the column's, as far as each one's share goes.
                let position = match pair % 3 {
                    1 if pair / 3 < row_pairs => row,
                    2 if pair / 3 < column_pairs => column,
                    _ => time,
                };
                angles.push(position * frequency);
            }
        }
        HalvesRotary::new(&angles, self.frequencies.len(), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nano() -> TransformerConfig {
        serde_json::from_value(serde_json::json!({
            "hidden_size": 4096, "num_hidden_layers": 1, "num_attention_heads": 32, "num_key_value_heads": 8,
            "head_dim": 128, "intermediate_size": 1, "vocab_size": 1
        }))
        .expect("the published sizes")
    }

    #[test]
    fn a_video_stands_behind_its_text_and_a_frame_a_second_is_six_positions_of_time() {
        let mrope = Mrope::new(&nano());
        let grid = |frames, fps| Grid { frames, height: 3, width: 4, fps, temporal_factor: 4 };
        let times = |frames, fps| {
            let positions = mrope.video(7, &grid(frames, fps));
            let [time, rows, columns] = positions.axes;
            assert_eq!(rows[..4], [0.0, 0.0, 1.0, 1.0]);
            assert_eq!(columns[..4], [0.0, 1.0, 0.0, 1.0]);
            time.chunks(4).map(|frame| frame[0]).collect::<Vec<_>>()
        };
        assert_eq!(times(3, Some(24.0)), [15_007.0, 15_008.0, 15_009.0]);
        assert_eq!(times(3, Some(12.0)), [15_007.0, 15_009.0, 15_011.0]);
        assert_eq!(times(3, None), [15_007.0, 15_008.0, 15_009.0]);
        assert_eq!(times(1, Some(12.0)), [15_007.0]);
        assert_eq!(mrope.text(3).axes, [[0.0, 1.0, 2.0]; 3].map(|axis| axis.to_vec()));
    }

    #[test]
    fn pairs_are_dealt_out_in_turn_until_the_shares_of_row_and_column_are_used_up() {
        let mrope = Mrope::new(&nano());
        // Time, row and column are so small that an angle is a sine, and so different that a sine tells the axis.
        let positions = Positions { axes: [vec![1e-3], vec![2e-3], vec![3e-3]] };
        let rotary = mrope.rotary(&positions, &Device::cpu()).expect("one token");
        let sines = rotary.tables().1.to_vec::<f32>().expect("f32");
        let axis = |pair: usize| (sines[pair] / mrope.frequencies[pair] / 1e-3).round() as usize;
        let found: Vec<_> = (0..64).map(axis).collect();
        let expected: Vec<_> = (0..64).map(|pair| if pair < 60 { pair % 3 + 1 } else { 1 }).collect();
        assert_eq!(found, expected);
    }
}
