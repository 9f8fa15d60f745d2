//! Measured figures that the documents quote are those of the results that are kept.

use serde_json::Value;
use std::path::Path;

fn result(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(name);
    serde_json::from_slice(&std::fs::read(path).expect("a kept result")).expect("JSON")
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).expect(pointer)
}

#[test]
fn readmes_table_of_the_demo_is_that_of_its_results() {
    let results = [
        "demo-ci-no-keys.json",
        "demo-ci-keys-cached.json",
        "demo-ci-120-transfers.json",
    ]
    .map(result);
    let row = |pointer: &str, text: &dyn Fn(f64) -> String| {
        results
            .iter()
            .map(|result| text(number(result, pointer)))
            .collect::<Vec<_>>()
    };
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    for figures in [
        row("/seconds/keys", &seconds),
        row("/seconds/shards", &seconds),
        row("/seconds/aggregation", &seconds),
        row("/peak_memory_together_bytes", &|bytes| {
            format!("{:.2} GB", bytes / 1e9)
        }),
    ] {
        golden::quotes("README.md", figures);
    }
    let first = &results[0];
    let whole = |pointer: &str| golden::thousands(number(first, pointer) as u64);
    golden::quotes(
        "README.md",
        [format!("{} bytes", whole("/proof_bytes")), whole("/verify_gas")],
    );
    // It differs with the zero bytes of the proof, so that it is quoted in hundreds.
    let hundreds = (number(first, "/l1_gas") / 100.0).floor() as u64 * 100;
    golden::quotes("README.md", [format!("{} gas", golden::thousands(hundreds))]);
}

#[test]
fn readmes_table_of_the_engine_is_that_of_its_results() {
    for (name, digits) in [("engine-shard-ci.json", 2), ("engine-aggregation-ci.json", 1)] {
        let result = result(name);
        let seconds = number(&result, "/results/engine_s");
        let stock = number(&result, "/results/stock_s");
        let memory = number(&result, "/results/engine_peak_memory_bytes") / 1e9;
        golden::quotes(
            "README.md",
            [
                format!("{seconds:.digits$} s"),
                format!("{stock:.1} s"),
                format!("{:.1}", number(&result, "/results/ratio")),
                format!("{:.1}", number(&result, "/results/cpu_ratio")),
                format!("{memory:.1} GB"),
            ],
        );
    }
}

#[test]
fn readmes_table_of_the_gpu_is_that_of_its_results() {
    let seconds = |file: &str, step: &str| {
        let result = result(&format!("gpu-h200/{file}.json"));
        let steps = result["results"]["steps"].as_array().expect("steps");
        let found = steps.iter().find(|found| found["step"] == step).expect(step);
        number(found, "/details/warm/seconds")
    };
    for circuit in ["shard", "aggregation"] {
        let peer = result(&format!("gpu-h200/peer-{circuit}.json"));
        golden::quotes(
            "README.md",
            [
                format!("{:.2} s", seconds("stock", &format!("stock-{circuit}"))),
                format!("{:.3} s", seconds("cpu", &format!("cpu-{circuit}"))),
                format!("{:.3} s", number(&peer, "/results/measured/seconds")),
                format!("{:.3} s", seconds("check", circuit)),
            ],
        );
    }
}

#[test]
fn figures_of_ten_million_accounts_are_those_of_the_result_and_within_what_is_asked() {
    let result = result("state-10m.json");
    assert_eq!(number(&result, "/results/accounts"), 1e7);
    assert_eq!(number(&result, "/results/transfers"), 1e4);
    let step = |pointer: &str| number(&result, &format!("/results/steps/{pointer}"));
    let (start, batch) = (step("start/cpu_seconds"), step("batch/cpu_seconds"));
    let memory = [
        step("store/state_memory_bytes"),
        step("store/store_bytes"),
        step("start/peak_memory_bytes"),
        step("batch/peak_memory_bytes"),
    ];
    // On two cores, 60 s and 2 s are twice as many processor-seconds at most.
    assert!(start < 120.0 && batch < 4.0);
    assert!(memory.iter().all(|bytes| *bytes < 4e9));
    let memory = memory.map(|bytes| format!("{:.2} GB", bytes / 1e9));
    for document in ["ARCHITECTURE.md", "benches/README.md"] {
        golden::quotes(document, [start, batch].map(|seconds| format!("{seconds:.2}")));
        golden::quotes(document, &memory);
    }
}
