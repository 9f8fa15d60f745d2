//! The constructor's bounds, natively and by the contract: at each the same is taken and refused, under the same name.

use alloy::primitives::{Address, U256};
use rules::{
    babyjub::Point,
    eddsa::{PrivateKey, PublicKey},
};
use verifier_contracts::{
    anvil::Anvil,
    l1::{ANVIL_KEY, DeployConfig, Deployment, L1, L1Error, Parts},
    rollup::{self, Contracts, Rejection},
    tools::Tools,
    verifier::CompiledVerifier,
};

alloy::sol! {
    /// Of the stand-in `Scripted`.
    function setCapacity(uint256 capacity) external;
}

const DAY_S: u64 = 86_400;

/// What is deployed over.
struct Stage {
    l1: L1,
    contracts: Contracts,
    verifier: CompiledVerifier,
    parts: Parts,
    usual: DeployConfig,
}

impl Stage {
    /// The name under which the contract refuses; none where it takes the parameters.
    async fn contract(&self, config: &DeployConfig, verifiers: usize) -> Option<String> {
        let parts = Parts {
            verifiers: vec![self.parts.verifiers[0]; verifiers],
            ..self.parts.clone()
        };
        let all = vec![&self.verifier; verifiers];
        match Deployment::deploy_over(&self.l1, &self.contracts, &all, parts, config).await {
            Ok(_) => None,
            Err(L1Error::Rejected(Rejection::BadParameter { name })) => Some(name),
            Err(L1Error::Rejected(Rejection::BadKey { .. })) => Some("feeKey".to_owned()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Both must say so.
    async fn agree(&self, config: &DeployConfig, verifiers: usize, expected: Option<&str>) {
        // Where the next contract of this account would be.
        let next = self.l1.predict(0).await.expect("a nonce").poseidon;
        let rooms = vec![self.verifier.queue_capacity; verifiers];
        let native = config.check(&rooms, next).map_err(|error| error.name).err();
        assert_eq!(native, expected, "natively: {config:?}, {verifiers}");
        let by_contract = self.contract(config, verifiers).await;
        assert_eq!(
            by_contract.as_deref(),
            expected,
            "the contract: {config:?}, {verifiers}"
        );
    }
}

async fn stage(anvil: &Anvil, tools: &Tools, capacity: u64) -> Stage {
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let contracts = rollup::compile(tools).expect("compiles");
    let source = include_str!("../test/StandIns.sol");
    let scripted = CompiledVerifier::stand_in(tools, source, "Scripted").expect("compiles");
    let key = PrivateKey::from_bytes(&[1; 32]).public();
    let usual = DeployConfig::new(l1.account(), Address::repeat_byte(0xfe), key);
    let deployed = Deployment::deploy(&l1, &contracts, &[&scripted], &usual).await;
    let addresses = deployed.expect("deploys").0.addresses().clone();
    let call = setCapacityCall {
        capacity: U256::from(capacity),
    };
    let call = verifier_contracts::l1::Call::new(
        addresses.verifiers[0],
        alloy::sol_types::SolCall::abi_encode(&call),
    );
    l1.transact(call).await.expect("it is set");
    Stage {
        l1,
        contracts,
        verifier: CompiledVerifier {
            queue_capacity: capacity,
            ..scripted
        },
        parts: Parts {
            poseidon: addresses.poseidon,
            verifiers: addresses.verifiers,
        },
        usual,
    }
}

#[tokio::test]
async fn native_check_and_contract_agree_at_each_bound() {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let stage = stage(&anvil, &tools, 1_000).await;
    type Set = fn(&mut DeployConfig, u64);
    let hour = 3_600;
    let numbers: [(&str, Set, u64, u64); 7] = [
        (
            "dueAfter",
            |config, value| config.due_after_s = value,
            hour,
            7 * DAY_S,
        ),
        (
            "silence",
            |config, value| config.silence_s = value,
            hour,
            7 * DAY_S,
        ),
        (
            "freezeAfter",
            |config, value| config.freeze_after_s = value,
            7 * DAY_S,
            30 * DAY_S,
        ),
        (
            "consumedMax",
            |config, value| config.consumed_max = Some(value),
            1,
            1_000,
        ),
        (
            "batchAgeMax",
            |config, value| config.batch_age_s_max = value,
            hour,
            7 * DAY_S,
        ),
        (
            "delay",
            |config, value| config.delay_s = value,
            45 * DAY_S,
            365 * DAY_S,
        ),
        (
            "gasCap",
            |config, value| config.verifier_gas_cap = u32::try_from(value).expect("32 bits"),
            250_000,
            8_000_000,
        ),
    ];
    for (name, set, least, most) in numbers {
        let outside = Some(name);
        for (value, expected) in [
            (least - 1, outside),
            (least, None),
            (most, None),
            (most + 1, outside),
        ] {
            let mut config = stage.usual.clone();
            if name != "delay" {
                // So that a longer period is not refused for the delay.
                config.delay_s = 365 * DAY_S;
            }
            set(&mut config, value);
            stage.agree(&config, 1, expected).await;
        }
    }
    // The least delay goes with the periods.
    let long = DeployConfig {
        due_after_s: 7 * DAY_S,
        freeze_after_s: 30 * DAY_S,
        delay_s: 67 * DAY_S,
        ..stage.usual.clone()
    };
    stage.agree(&long, 1, None).await;
    let short = DeployConfig {
        delay_s: 67 * DAY_S - 1,
        ..long
    };
    stage.agree(&short, 1, Some("delay")).await;

    let price_max = (U256::from(1) << 96) - U256::from(1);
    for (token_price, expected) in [
        (U256::ZERO, Some("tokenPrice")),
        (U256::from(1), None),
        (price_max, None),
        (price_max + U256::from(1), Some("tokenPrice")),
    ] {
        let config = DeployConfig {
            token_price,
            ..stage.usual.clone()
        };
        stage.agree(&config, 1, expected).await;
    }
    for (verifiers, expected) in [
        (0, Some("verifiers")),
        (1, None),
        (8, None),
        (9, Some("verifiers")),
    ] {
        stage.agree(&stage.usual, verifiers, expected).await;
    }
}

#[tokio::test]
async fn native_check_and_contract_agree_on_people_keys_and_rooms() {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let stage = stage(&anvil, &tools, 7).await;
    for name in ["operator", "feeAddress"] {
        for own in [false, true] {
            let mut config = stage.usual.clone();
            let who = match own {
                // What the contract's own address would be.
                true => stage.l1.predict(0).await.expect("a nonce").poseidon,
                false => Address::ZERO,
            };
            match name {
                "operator" => config.operator = who,
                _ => config.fee_address = who,
            }
            stage.agree(&config, 1, Some(name)).await;
        }
    }
    let key = stage.usual.fee_key.0;
    let off_curve = Point {
        x: key.x + rules::Fr::one(),
        y: key.y,
    };
    for point in [Point::IDENTITY, off_curve] {
        let config = DeployConfig {
            fee_key: PublicKey(point),
            ..stage.usual.clone()
        };
        stage.agree(&config, 1, Some("feeKey")).await;
    }
    for (consumed_max, expected) in [(7, None), (8, Some("queueCapacity"))] {
        let config = DeployConfig {
            consumed_max: Some(consumed_max),
            ..stage.usual.clone()
        };
        stage.agree(&config, 1, expected).await;
    }
    stage.agree(&stage.usual, 1, None).await;
}

/// The constructor runs on lent code: what no native rule sees is refused before anything is paid too.
#[tokio::test]
async fn a_deployment_is_rehearsed_without_a_transaction() {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
    let anvil = Anvil::spawn(&tools).expect("anvil");
    let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
    let contracts = rollup::compile(&tools).expect("compiles");
    let source = include_str!("../test/StandIns.sol");
    let verifier = CompiledVerifier::stand_in(&tools, source, "AcceptsAll").expect("compiles");
    let key = PrivateKey::from_bytes(&[1; 32]).public();
    let usual = DeployConfig::new(l1.account(), l1.account(), key);
    let before = l1.predict(1).await.expect("a nonce");
    let rehearsed = Deployment::rehearse(&l1, &contracts, &[&verifier, &verifier], &usual).await;
    assert!(rehearsed.expect("it would go through"), "anvil lends code");
    let other = CompiledVerifier {
        vk_digest: alloy::primitives::B256::repeat_byte(3),
        ..verifier.clone()
    };
    let refused = Deployment::rehearse(&l1, &contracts, &[&other], &usual).await;
    assert!(
        matches!(&refused, Err(L1Error::Rejected(Rejection::BadParameter { name })) if name == "vkDigest"),
        "{refused:?}"
    );
    let mut wrong = contracts.clone();
    wrong.poseidon.runtime = verifier.code.runtime.clone();
    let refused = Deployment::rehearse(&l1, &wrong, &[&verifier], &usual).await;
    assert!(matches!(refused, Err(L1Error::Rejected(_))), "{refused:?}");
    for config in [
        DeployConfig {
            due_after_s: 1,
            ..usual.clone()
        },
        DeployConfig {
            operator: before.rollup,
            ..usual.clone()
        },
    ] {
        for refused in [
            Deployment::rehearse(&l1, &contracts, &[&verifier], &config)
                .await
                .err(),
            Deployment::deploy(&l1, &contracts, &[&verifier], &config)
                .await
                .err(),
        ] {
            assert!(matches!(refused, Some(L1Error::Parameter(_))), "{refused:?}");
        }
    }
    assert_eq!(l1.predict(1).await.expect("a nonce"), before, "nothing was sent");
}
