//! Devices by name, chosen at run time.

use burn::tensor::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A device as a recipe writes it: `cpu`, and where the feature of that name is compiled in, `cuda:N` or `wgpu`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceName(String);

/// The CPU (burn's flex backend).
pub fn cpu() -> Device {
    Device::flex()
}

impl DeviceName {
    /// The device itself, without autodiff.
    pub fn device(&self) -> Device {
        match self.0.split_once(':').unwrap_or((&self.0, "0")) {
            #[cfg(feature = "cuda")]
            ("cuda", index) => Device::cuda(index.parse::<usize>().unwrap_or(0)),
            #[cfg(feature = "wgpu")]
            ("wgpu", _) => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
            _ => cpu(),
        }
    }

    fn allowed() -> String {
        let mut names = vec!["cpu"];
        names.extend(cfg!(feature = "cuda").then_some("cuda:0, cuda:1, …"));
        names.extend(cfg!(feature = "wgpu").then_some("wgpu"));
        names.join(", ")
    }
}

impl Default for DeviceName {
    fn default() -> Self {
        Self("cpu".into())
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.0
    }
}

impl TryFrom<String> for DeviceName {
    /// What was found and what is allowed.
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = match name.split_once(':') {
            None => name == "cpu" || (cfg!(feature = "wgpu") && name == "wgpu"),
            Some((kind, index)) => cfg!(feature = "cuda") && kind == "cuda" && index.parse::<u16>().is_ok(),
        };
        if known {
            return Ok(Self(name));
        }
        let compiled_out = matches!(name.split(':').next(), Some("cuda" | "wgpu"));
        let more = if compiled_out { " (others are features of the build: --features cuda, --features wgpu)" } else { "" };
        Err(format!("found `{name}`; allowed: {}{more}", Self::allowed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(DeviceName::try_from("cpu".to_owned()).unwrap().device(), cpu());
        for wrong in ["", "gpu", "cuda", "cuda:x", "cpu:0:1"] {
            let error = DeviceName::try_from(wrong.to_owned()).unwrap_err();
            assert!(error.contains("cpu"), "{error}");
        }
    }
}
