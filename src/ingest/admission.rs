//! What the register admits, for the reading of reports.

use store::Directory;
use wire::carrier::CarrierAdmission;
use wire::{Admission, FaultCode};

type Verdict = Result<(), (FaultCode, String)>;

/// A gateway reports for its own enterprise, and usage of products that its enterprise holds a voucher for.
pub(crate) struct GatewayAdmission<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) enterprise: &'a str,
}

impl Admission for GatewayAdmission<'_> {
    fn enterprise(&self, credit_code: &str) -> Verdict {
        if credit_code == self.enterprise {
            Ok(())
        } else {
            Err((FaultCode::ForeignEnterprise, "it is not the gateway's enterprise".into()))
        }
    }

    fn product(&self, _: Option<&str>, product: &str) -> Verdict {
        if self.directory.product(product).is_none() {
            return Err((FaultCode::UnknownProduct, format!("{product:?} is not in the register")));
        }
        if !self.directory.voucher_of(self.enterprise, product) {
            return Err((FaultCode::ForeignProduct, format!("the enterprise holds no voucher for {product:?}")));
        }
        Ok(())
    }

    fn function_module(&self, product: &str, function_module: &str) -> Verdict {
        listed(self.directory, product, function_module)
    }
}

/// A supplier reports for enterprises of the register, and usage of its own products.
pub(crate) struct SupplierAdmission<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) supplier: &'a str,
}

impl Admission for SupplierAdmission<'_> {
    fn enterprise(&self, credit_code: &str) -> Verdict {
        if self.directory.enterprise_known(credit_code) {
            Ok(())
        } else {
            Err((FaultCode::UnknownEnterprise, format!("{credit_code} is not in the register")))
        }
    }

    fn product(&self, _: Option<&str>, product: &str) -> Verdict {
        match self.directory.product(product) {
            None => Err((FaultCode::UnknownProduct, format!("{product:?} is not in the register"))),
            Some(entry) if entry.supplier != self.supplier => {
                Err((FaultCode::ForeignProduct, format!("{product:?} is another supplier's product")))
            }
            Some(_) => Ok(()),
        }
    }

    fn function_module(&self, product: &str, function_module: &str) -> Verdict {
        listed(self.directory, product, function_module)
    }
}

fn listed(directory: &Directory, product: &str, function_module: &str) -> Verdict {
    match directory.product(product) {
        Some(entry) if entry.function_modules.contains(function_module) => Ok(()),
        _ => Err((FaultCode::FunctionModule, format!("{function_module:?} is not listed for {product:?}"))),
    }
}

/// Carriers speak of any enterprise and product of the register.
pub(crate) struct CarrierNames<'a>(pub(crate) &'a Directory);

impl CarrierAdmission for CarrierNames<'_> {
    fn enterprise(&self, credit_code: &str) -> Result<(), String> {
        if self.0.enterprise_known(credit_code) { Ok(()) } else { Err(format!("{credit_code} is not in the register")) }
    }

    fn product(&self, product: &str) -> Result<(), String> {
        if self.0.product(product).is_some() { Ok(()) } else { Err(format!("{product:?} is not in the register")) }
    }
}
