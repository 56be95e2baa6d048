//! What the doors need of the register, quickly: who may speak, for whom, about which products.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock};

use policy::register::Register;
use wire::PublicKey;

use crate::keys::sha256_hex;
use crate::register_rows::apart;
use crate::sql::{Store, StoreError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayEntry {
    pub enterprise: String,
    token_sha256: Option<String>,
    /// It speaks Sparkplug B.
    pub sparkplug: bool,
    /// Under which its reports must be signed.
    pub public_key: Option<PublicKey>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProductEntry {
    pub supplier: String,
    pub function_modules: HashSet<String>,
}

/// Names of one register state.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    gateways: HashMap<String, GatewayEntry>,
    products: HashMap<String, ProductEntry>,
    enterprises: HashSet<String>,
    /// (enterprise, product) of every voucher.
    voucher_products: HashSet<(String, String)>,
}

impl Directory {
    pub fn of(register: &Register) -> Directory {
        let gateway = |gateway: &policy::register::Gateway| GatewayEntry {
            enterprise: gateway.enterprise.clone(),
            token_sha256: gateway.token_sha256.clone(),
            sparkplug: gateway.sparkplug,
            // The import takes none that cannot be read.
            public_key: gateway.public_key.as_deref().and_then(|key| PublicKey::read(key).ok()),
        };
        let product = |product: &policy::register::Product| ProductEntry {
            supplier: product.supplier.clone(),
            function_modules: product.function_modules.iter().cloned().collect(),
        };
        Directory {
            gateways: register.gateways.iter().map(|(id, row)| (id.clone(), gateway(row))).collect(),
            products: register.products.iter().map(|(id, row)| (id.clone(), product(row))).collect(),
            enterprises: register.enterprises.keys().cloned().collect(),
            voucher_products: register.vouchers.values().map(|voucher| (voucher.enterprise.clone(), voucher.product.clone())).collect(),
        }
    }

    pub fn gateway(&self, id: &str) -> Option<&GatewayEntry> {
        self.gateways.get(id)
    }

    pub fn product(&self, id: &str) -> Option<&ProductEntry> {
        self.products.get(id)
    }

    pub fn enterprise_known(&self, credit_code: &str) -> bool {
        self.enterprises.contains(credit_code)
    }

    pub fn voucher_of(&self, enterprise: &str, product: &str) -> bool {
        self.voucher_products.contains(&(enterprise.to_string(), product.to_string()))
    }
}

impl GatewayEntry {
    /// Hashes are compared, so that the time taken tells nothing of the token.
    pub fn token_matches(&self, token: &str) -> bool {
        self.token_sha256.as_deref() == Some(sha256_hex(token).as_str())
    }
}

/// The register in memory, as of the last look at its revision; other processes may change it too.
#[derive(Clone)]
pub struct RegisterState {
    store: Store,
    held: Arc<RwLock<Held>>,
}

#[derive(Clone)]
struct Held {
    revision: i64,
    register: Arc<Register>,
    directory: Arc<Directory>,
}

impl RegisterState {
    pub async fn load(store: Store) -> Result<RegisterState, StoreError> {
        let held = Held::load(&store).await?;
        Ok(RegisterState { store, held: Arc::new(RwLock::new(held)) })
    }

    /// Looks whether the register has changed, and takes the new state in.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        if self.store.register_revision().await? != self.held().revision {
            let held = Held::load(&self.store).await?;
            let mut kept = self.held.write().unwrap_or_else(|poisoned| poisoned.into_inner());
            if held.revision > kept.revision {
                *kept = held;
            }
        }
        Ok(())
    }

    pub fn register(&self) -> Arc<Register> {
        self.held().register
    }

    pub fn directory(&self) -> Arc<Directory> {
        self.held().directory
    }

    fn held(&self) -> Held {
        self.held.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

impl Held {
    async fn load(store: &Store) -> Result<Held, StoreError> {
        let (revision, register) = store.load_register().await?;
        Ok(Held { revision, directory: Arc::new(apart(|| Directory::of(&register))), register: Arc::new(register) })
    }
}
