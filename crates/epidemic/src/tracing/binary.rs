//! Binary digital tracing: whoever met someone who told of a positive test is asked to stay at home.

use super::{Assessment, DAYS, Needs, Phone, Policy};

/// Binary tracing over one or two steps.
#[derive(Debug, Clone, Copy)]
pub struct Binary {
    /// 1: contacts; 2: contacts of contacts too.
    pub order: u8,
}

impl Policy for Binary {
    fn name(&self) -> &str {
        if self.order == 1 { "bct1" } else { "bct2" }
    }

    fn needs(&self) -> Needs {
        Needs::Contacts(self.order)
    }

    fn assess(&self, phones: &[Phone], out: &mut [Assessment]) {
        for (phone, out) in phones.iter().zip(out) {
            let level = if phone.alerted { 15 } else { 0 };
            *out = Assessment { levels: [level; DAYS], recommendation: if phone.alerted { 3 } else { 0 } };
        }
    }
}
