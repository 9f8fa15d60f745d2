//! Sample rollups: a genesis state and batches of valid signed transfers, from a seed. For demonstrations, benchmarks
//! and tests; the keys come from the seed and protect nothing.

use crate::account::{Account, AccountIndex, TokenId, USER_INDEX_MIN};
use crate::amount::{Amount, Fee};
use crate::batch::Batch;
use crate::eddsa::PrivateKey;
use crate::genesis::{Genesis, GenesisAccount};
use crate::operation::{Expiry, RollupId, TIME_BITS, Transfer};
use crate::state::State;
use crate::threads;
use crate::transition::Overlay;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Balance of every account at genesis, in smallest units.
const GENESIS_BALANCE: u128 = 1_000_000_000_000;
/// The largest amount of a sample transfer: every integer up to it is an [`Amount`].
const AMOUNT_MAX: u128 = (1 << Amount::MANTISSA_BITS) - 1;
/// Seconds from a batch's time to its transfers' expiry.
const LIFETIME_SECONDS: u64 = 3600;

/// What a sample rollup is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleConfig {
    /// Equal configurations make equal rollups.
    pub seed: u64,
    /// Users, each with one key and an account of every token. At least 1.
    pub users: u32,
    /// Tokens, numbered from 1. At least 1.
    pub tokens: u16,
}

/// A sample rollup: its genesis state, its keys, and its state after the batches made so far.
#[derive(Debug, Clone)]
pub struct Sample {
    config: SampleConfig,
    genesis: Genesis,
    operator: PrivateKey,
    users: Vec<PrivateKey>,
    state: State,
    rng: ChaCha20Rng,
    batches: u64,
}

impl Sample {
    /// Makes the keys and the genesis state.
    ///
    /// # Panics
    /// Without users or tokens, or with more accounts than the tree has indices for.
    pub fn new(config: SampleConfig) -> Self {
        assert!(
            config.users > 0 && config.tokens > 0,
            "a sample has users and tokens"
        );
        let mut rng = ChaCha20Rng::seed_from_u64(config.seed);
        let mut seeds = vec![[0; 32]; config.users as usize + 1];
        seeds.iter_mut().for_each(|seed| rng.fill_bytes(seed));
        let mut keys = threads::each(seeds.len(), |place| PrivateKey::from_bytes(&seeds[place]));
        let operator = keys.pop().expect("there is one key more than users");
        let mut accounts = Vec::new();
        let mut add = |index, token, key: &PrivateKey, l1_address| {
            let account = Account {
                token,
                nonce: 0,
                balance: GENESIS_BALANCE,
                owner: key.public(),
                l1_address,
            };
            accounts.push(GenesisAccount { index, account });
        };
        let operator_address = rng.r#gen();
        for token in (1..=config.tokens).map(TokenId) {
            add(
                AccountIndex::fee_account(token),
                token,
                &operator,
                operator_address,
            );
        }
        for (user, key) in keys.iter().enumerate() {
            let address = rng.r#gen();
            for token in 1..=config.tokens {
                add(
                    user_account(&config, user as u32, TokenId(token)),
                    TokenId(token),
                    key,
                    address,
                );
            }
        }
        let genesis = Genesis::new(accounts);
        let state = genesis.build().expect("the accounts above keep P-3.6");
        Self {
            config,
            genesis,
            operator,
            users: keys,
            state,
            rng,
            batches: 0,
        }
    }

    /// The genesis state's accounts.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The state after the batches made so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The account of a user, counted from 0, for a token.
    ///
    /// # Panics
    /// On users and tokens that the sample does not have.
    pub fn account(&self, user: u32, token: TokenId) -> AccountIndex {
        assert!(
            user < self.config.users && (1..=self.config.tokens).contains(&token.0),
            "in the sample"
        );
        user_account(&self.config, user, token)
    }

    /// The key that owns an account, if it is one of the sample's.
    pub fn key(&self, index: AccountIndex) -> Option<&PrivateKey> {
        self.state.get(index)?;
        match index.get().checked_sub(USER_INDEX_MIN) {
            None => Some(&self.operator),
            Some(place) => self.users.get((place / u64::from(self.config.tokens)) as usize),
        }
    }

    /// Makes the next batch and moves the state over it. One transfer in eight is to the sender itself, one in
    /// sixteen to or from the fee account, and a few users send and receive most of the others.
    ///
    /// # Panics
    /// On a time that leaves no 40-bit expiry.
    pub fn batch(&mut self, rollup_id: RollupId, time: u64, transfers: usize) -> Batch {
        assert!(
            (time + LIFETIME_SECONDS) >> TIME_BITS == 0,
            "a batch's time has 40 bits"
        );
        let expiry = Expiry::new(time + LIFETIME_SECONDS).expect("the time leaves room");
        let mut overlay = Overlay::new(&self.state);
        let mut unsigned = Vec::with_capacity(transfers);
        for _ in 0..transfers {
            let transfer = draw(&self.config, &mut self.rng, &overlay, expiry);
            overlay
                .transfer(&transfer, time, Ok(()))
                .expect("the drawn transfer is covered");
            unsigned.push(transfer);
        }
        let touched = overlay.into_changed();
        let operations = threads::each(unsigned.len(), |place| {
            let transfer = unsigned[place];
            let key = self.key(transfer.from).expect("senders are the sample's");
            transfer.sign(key, &rollup_id)
        });
        let old_root = self.state.root();
        self.state.overwrite(&touched);
        let number = self.batches;
        self.batches += 1;
        Batch {
            rollup_id,
            number,
            time,
            old_root,
            new_root: self.state.root(),
            operations,
        }
    }
}

fn user_account(config: &SampleConfig, user: u32, token: TokenId) -> AccountIndex {
    let place = u64::from(user) * u64::from(config.tokens) + u64::from(token.0 - 1);
    AccountIndex::new(USER_INDEX_MIN + place).expect("2^32 users of 2^16 tokens are not drawn")
}

fn draw(config: &SampleConfig, rng: &mut ChaCha20Rng, overlay: &Overlay, expiry: Expiry) -> Transfer {
    let token = TokenId(rng.gen_range(1..=config.tokens));
    let fee_account = AccountIndex::fee_account(token);
    let user = |rng: &mut ChaCha20Rng| {
        let users = if rng.gen_ratio(1, 2) {
            config.users.min(4)
        } else {
            config.users
        };
        user_account(config, rng.gen_range(0..users), token)
    };
    let mut from = user(rng);
    let to = match rng.gen_range(0..32) {
        0..4 => from,
        4 => fee_account,
        5 => {
            from = fee_account;
            user(rng)
        }
        _ => user(rng),
    };
    let sender = overlay.get(from).expect("the sample has the account");
    let fee = u128::from(rng.gen_range(0..16u8)).min(sender.balance);
    let amount = rng.gen_range(0..=AMOUNT_MAX.min(sender.balance - fee));
    Transfer {
        from,
        to,
        amount: Amount::from_integer(amount).expect("mantissas without exponent are amounts"),
        fee: Fee::from_integer(fee).expect("mantissas without exponent are fees"),
        nonce: sender.nonce,
        expiry,
        token,
    }
}
