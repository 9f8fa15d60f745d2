//! A report as a table for people.

use serde_json::Value;

/// One line for each step, with what matters of it.
pub fn table(report: &Value) -> String {
    let results = &report["results"];
    let steps = || results["steps"].as_array().into_iter().flatten();
    let left_out = match steps().filter(|step| step["outcome"] == "skipped").count() {
        0 => String::new(),
        steps => format!(", {steps} steps left out by request"),
    };
    let mut text = format!(
        "{} on {}, {:.0} s: {}{left_out}\n\n",
        word(&results["preset"]),
        word(&results["device"]),
        number(&results["seconds"]),
        if results["passed"] == true {
            "everything passed"
        } else {
            "NOT everything passed"
        },
    );
    for step in steps() {
        text += &format!(
            "{:16} {:8} {:7.1} s  {}\n",
            word(&step["step"]),
            word(&step["outcome"]),
            number(&step["seconds"]),
            note(step),
        );
    }
    for circuit in ["shard", "aggregation"] {
        for (others, name) in [
            ("ratios_to_cpu", "the engine"),
            ("ratios_to_stock", "stock halo2"),
        ] {
            if let Some(ratio) = results[others][circuit].as_f64() {
                text += &format!("\n{circuit}: {ratio:.2} times as fast as {name} on this machine's CPU");
            }
        }
    }
    text.trim_end().to_string() + "\n"
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

/// What a step found.
fn note(step: &Value) -> String {
    let details = &step["details"];
    if let Some(error) = step["error"].as_str() {
        let under_way = &details["under_way"];
        let place = if under_way.is_null() {
            String::new()
        } else {
            format!(" (at {under_way})")
        };
        return format!("{error}{place}");
    }
    if step["passed"] != true {
        return String::new();
    }
    match word(&step["step"]) {
        "msm" | "ntt" => format!(
            "{} rounds, {} mismatches; up to {} elements; device {:.1} s, CPU {:.1} s",
            details["rounds_done"],
            details["mismatches"],
            details["largest"],
            number(&details["device_s"]),
            number(&details["cpu_s"]),
        ),
        "stock-shard" | "stock-aggregation" => {
            format!(
                "k = {}: {:.3} s",
                details["k"],
                number(&details["warm"]["seconds"])
            )
        }
        "shard" | "aggregation" | "cpu-shard" | "cpu-aggregation" => proofs(details),
        "kernels" => kernels(details),
        _ => String::new(),
    }
}

fn proofs(details: &Value) -> String {
    let warm = &details["warm"];
    let phases = warm["phases_s"].as_object().into_iter().flatten();
    let phases = phases.filter(|(name, _)| !name.contains("not counted"));
    let phases: Vec<String> = phases
        .map(|(name, s)| format!("{name} {:.3}", number(s)))
        .collect();
    let cold = &details["cold"];
    format!(
        "k = {}: {:.3} s, first {:.3} s ({:.1} s with its keys); {}{}",
        details["k"],
        number(&warm["seconds"]),
        number(&cold["seconds"]),
        number(&cold["seconds_with_keys_and_verification"]),
        phases.join(", "),
        device(warm),
    )
}

/// How busy a device was that keeps a book, and what went to it and back.
fn device(run: &Value) -> String {
    let book = &run["device"];
    let Some(busy) = book["busy_s"].as_f64() else {
        return String::new();
    };
    let moved = |name: &str| -> f64 {
        let phases = book["phases"].as_object().into_iter().flatten();
        phases.map(|(_, phase)| number(&phase[name])).sum::<f64>() / 1e6
    };
    format!(
        "; device busy {:.0} %, {:.0} MB to it, {:.0} MB back",
        100.0 * busy / number(&run["seconds"]),
        moved("bytes_to_device"),
        moved("bytes_to_host"),
    )
}

/// A line for each measurement.
fn kernels(details: &Value) -> String {
    let rows = details["rows"].as_array().into_iter().flatten();
    let lines = rows.map(|row| {
        format!(
            "\n    2^{:<3}{:12} {:20} {:10.3} ms, {:6.2} times halo2curves",
            row["k"].to_string(),
            word(&row["kernel"]),
            word(&row["device"]),
            number(&row["seconds"]) * 1e3,
            number(&row["ratio"]),
        )
    });
    lines.collect()
}
