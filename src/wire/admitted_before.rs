//! Names that nobody is asked about: what the log holds was admitted when it came.

use crate::carrier::CarrierAdmission;
use crate::fault::FaultCode;
use crate::read::Admission;

/// Everything is admitted when it is read again.
pub struct AdmittedBefore;

impl Admission for AdmittedBefore {
    fn enterprise(&self, _: &str) -> Result<(), (FaultCode, String)> {
        Ok(())
    }
    fn product(&self, _: Option<&str>, _: &str) -> Result<(), (FaultCode, String)> {
        Ok(())
    }
    fn function_module(&self, _: &str, _: &str) -> Result<(), (FaultCode, String)> {
        Ok(())
    }
}

impl CarrierAdmission for AdmittedBefore {
    fn enterprise(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn product(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}
