//! What the processor must have: the field arithmetic is assembly that asks for it at run time, and ends by SIGILL without.

/// What this processor lacks, in words; none where it has all.
pub fn lacks() -> Option<String> {
    #[cfg(target_arch = "x86_64")]
    let needed = [
        ("ADX", std::is_x86_feature_detected!("adx")),
        ("BMI2", std::is_x86_feature_detected!("bmi2")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let needed: [(&str, bool); 0] = [];
    lacking(&needed)
}

fn lacking(needed: &[(&str, bool)]) -> Option<String> {
    let missing = needed.iter().filter(|(_, there)| !there).map(|(name, _)| *name);
    let missing: Vec<&str> = missing.collect();
    (!missing.is_empty()).then(|| {
        format!(
            "this processor lacks {}, which the field arithmetic needs: Intel has them since 2014 (Broadwell), AMD since 2017 (Zen); \
             a virtual machine may hide them",
            missing.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(lacking(&[("ADX", true), ("BMI2", true)]), None);
        let text = lacking(&[("ADX", false), ("BMI2", false)]).expect("both are missing");
        assert!(text.contains("ADX and BMI2"), "{text}");
    }
}
