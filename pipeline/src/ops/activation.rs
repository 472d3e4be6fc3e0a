//! Activations.

use super::{Result, Tensor};

/// GELU in its tanh approximation, as Wan and T5 (`gelu_new`) use it.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    x.gelu()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Device;

    #[test]
    fn gelu_is_the_tanh_approximation_and_not_the_exact_one() -> Result<()> {
        let x = [-3.0f32, -1.0, -0.25, 0.0, 0.5, 1.0, 2.0];
        let y = gelu_tanh(&Tensor::new(&x, &Device::Cpu)?)?.to_vec1::<f32>()?;
        for (x, y) in x.into_iter().zip(y) {
            let x = f64::from(x);
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            assert!((f64::from(y) - 0.5 * x * (1.0 + inner.tanh())).abs() < 1e-6, "gelu({x}) = {y}");
        }
        Ok(())
    }
}
