//! Who acts in the demo: each has an account on L1, and a key on the rollup.

use anyhow::{Context, Result};
use rules::account::{Account, AccountIndex, TokenId};
use rules::amount::{Amount, Fee};
use rules::eddsa::PrivateKey;
use rules::operation::{Creation, Expiry, Operation, RollupId, Transfer, Withdrawal};
use sha2::{Digest, Sha256};
use verifier_contracts::l1::{ANVIL_KEY, Deployment, L1};

/// The token of everything that is not said to be of another: ETH.
pub const ETH: TokenId = TokenId(1);

/// Keys of anvil's development accounts after the first. Everybody knows them: for local chains only.
const ANVIL_KEYS: [&str; 5] = [
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
];

/// One of them.
pub struct Person {
    /// The account on L1.
    pub l1: L1,
    /// The key on the rollup.
    pub key: PrivateKey,
    /// The token of the account on the rollup.
    token: TokenId,
    /// Where it is, once there is one.
    index: Option<AccountIndex>,
    /// Operations signed so far.
    nonce: u64,
    /// What the account is to have when all that was signed and deposited is executed.
    expected: u128,
}

/// All of them.
pub struct People {
    /// Deploys the contracts and is the operator, until it dies.
    pub operator: Person,
    /// Has ETH, pays, withdraws, and at last leaves by a proof.
    pub alice: Person,
    /// Has ETH, and deposits when nobody works any more.
    pub bob: Person,
    /// Has the token, and is censored.
    pub carol: Person,
    /// Has nothing on L1 and joins by a signature.
    pub dave: Person,
    /// Nobody in particular.
    pub stranger: Person,
}

impl People {
    /// They, on the chain at `url`; their keys on the rollup follow from the seed.
    ///
    /// # Errors
    /// When the chain's address is none.
    pub fn new(url: &str, seed: u64) -> Result<Self> {
        let person = |place: u8, l1_key: &str| -> Result<Person> {
            let mut hash = Sha256::new();
            hash.update(b"rollup-prover demo");
            hash.update(seed.to_be_bytes());
            hash.update([place]);
            Ok(Person {
                l1: L1::connect(url, l1_key)?,
                key: PrivateKey::from_bytes(&hash.finalize().into()),
                token: ETH,
                index: None,
                nonce: 0,
                expected: 0,
            })
        };
        let [alice, bob, carol, dave, stranger] = ANVIL_KEYS;
        Ok(Self {
            operator: person(0, ANVIL_KEY)?,
            alice: person(1, alice)?,
            bob: person(2, bob)?,
            carol: person(3, carol)?,
            dave: person(4, dave)?,
            stranger: person(5, stranger)?,
        })
    }
}

impl Person {
    /// The address on L1.
    pub fn l1_address(&self) -> [u8; 20] {
        self.l1.account().into_array()
    }

    /// The rollup's contract, called by this person.
    ///
    /// # Errors
    /// When L1 cannot be asked.
    pub async fn at(&self, deployment: &Deployment) -> Result<Deployment> {
        Ok(Deployment::at(&self.l1, deployment.rollup()).await?)
    }

    /// A key that takes the place of the one that this person has.
    pub fn another_key(&self) -> PrivateKey {
        let mut hash = Sha256::new();
        hash.update(b"rollup-prover demo, another key");
        hash.update(self.key.public().to_bytes());
        PrivateKey::from_bytes(&hash.finalize().into())
    }

    /// Has an account at an index from now on.
    pub fn settle(&mut self, index: AccountIndex, token: TokenId) {
        (self.index, self.token) = (Some(index), token);
    }

    /// Where the account is.
    ///
    /// # Errors
    /// When there is none.
    pub fn index(&self) -> Result<AccountIndex> {
        self.index.context("this person has no account yet")
    }

    /// Gets so much by the queue.
    pub fn receive(&mut self, amount: u128) {
        self.expected += amount;
    }

    /// The account when all that was signed and deposited is executed. Others mean it by all of this but balance and nonce.
    pub fn account(&self) -> Account {
        Account {
            token: self.token,
            nonce: self.nonce,
            balance: self.expected,
            owner: self.key.public(),
            l1_address: self.l1_address(),
        }
    }

    /// Signs a transfer to another's account.
    ///
    /// # Errors
    /// When either has no account, or the amount is no float.
    pub fn pay(&mut self, to: &mut Self, amount: u128, fee: u128, rollup_id: &RollupId) -> Result<Operation> {
        to.expected += amount;
        let receiver = to.account();
        self.pay_to(to.index()?, &receiver, amount, fee, rollup_id)
    }

    /// Signs a transfer to the account at an index.
    ///
    /// # Errors
    /// As [`Person::pay`].
    pub fn pay_to(
        &mut self,
        to: AccountIndex,
        receiver: &Account,
        amount: u128,
        fee: u128,
        rollup_id: &RollupId,
    ) -> Result<Operation> {
        self.spend(amount + fee)?;
        let transfer = Transfer {
            from: self.index()?,
            to,
            amount: Amount::from_integer(amount)?,
            fee: Fee::from_integer(fee)?,
            nonce: self.take_nonce(),
            expiry: Expiry::NEVER,
            token: self.token,
        };
        Ok(Operation::Transfer(transfer.sign(&self.key, rollup_id, receiver)))
    }

    /// Signs a withdrawal.
    ///
    /// # Errors
    /// As [`Person::pay`].
    pub fn withdraw(&mut self, amount: u128, fee: u128, rollup_id: &RollupId) -> Result<Operation> {
        self.spend(amount + fee)?;
        let withdrawal = Withdrawal {
            from: self.index()?,
            amount,
            fee: Fee::from_integer(fee)?,
            nonce: self.take_nonce(),
            expiry: Expiry::NEVER,
            token: self.token,
        };
        let signed = withdrawal.sign(&self.key, rollup_id, &self.l1_address());
        Ok(Operation::Withdrawal(signed))
    }

    /// Signs the creation of this person's account, at an index that the operator chose.
    pub fn join(&mut self, index: AccountIndex, token: TokenId, rollup_id: &RollupId) -> Operation {
        self.settle(index, token);
        let creation = Creation {
            index,
            token,
            owner: self.key.public(),
            l1_address: self.l1_address(),
        };
        Operation::Creation(creation.sign(&self.key, rollup_id))
    }

    fn spend(&mut self, amount: u128) -> Result<()> {
        let left = self.expected.checked_sub(amount);
        self.expected = left.with_context(|| format!("{} are too few for {amount}", self.expected))?;
        Ok(())
    }

    fn take_nonce(&mut self) -> u64 {
        let nonce = self.nonce;
        self.nonce += 1;
        nonce
    }
}
