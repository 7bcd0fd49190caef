//! A VM's Ethernet address, which is made from the VM's name, and the notice that two VMs have the same one.
//!
//! The VMM makes a guest's address here, and the gateway makes the same one from the name in a forward: so a
//! forward finds its VM whatever address the guest has and on whichever host it runs. VMs without a name of
//! their own all have the same one, and so the same address. The gateway sees that (`switch`) and tells both
//! VMs with a notice: a network frame of an EtherType that is set aside for private use, since between a
//! gateway and a VM without a key nothing but network frames passes. No guest ever gets a notice or sends
//! one.

use std::fmt;
use std::str::FromStr;

/// IEEE 802: "local experimental EtherType 2", which no protocol of a guest uses.
const ETHERTYPE: [u8; 2] = [0x88, 0xb6];
const CONTENT: &[u8; 16] = b"LOCKSTEP: shared";
/// Bytes of a network frame without its padding, and the shortest that Ethernet knows.
const HEADER_LEN: usize = 14;
const FRAME_LEN: usize = 60;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of a VM's network device with this number, made from the VM's name. It is locally
    /// administered, and both hosts of a pair make the same one.
    #[must_use]
    pub fn of_vm(name: &str, device: u64) -> Mac {
        // This hash is FNV-1a. Any that spreads will do, as long as it stays the same for ever.
        let bytes = name.bytes().chain(device.to_le_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let [a, b, c, d, ..] = hash.to_be_bytes();
        Mac([0x52, 0x54, a, b, c, d])
    }
}

impl FromStr for Mac {
    type Err = ();

    /// Reads six bytes in hexadecimal with colons between them.
    fn from_str(text: &str) -> Result<Mac, ()> {
        let parts: Vec<&str> = text.split(':').collect();
        let parts: [&str; 6] = parts.try_into().map_err(|_| ())?;
        let mut bytes = [0; 6];
        for (byte, part) in bytes.iter_mut().zip(parts) {
            let read = u8::from_str_radix(part, 16).ok();
            *byte = read.filter(|_| part.len() == 2).ok_or(())?;
        }
        Ok(Mac(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The network frame in which a gateway tells a VM that another VM uses its guest's address, which is `mac`.
#[must_use]
pub fn notice(gateway: Mac, mac: Mac) -> Vec<u8> {
    let mut frame = [&mac.0[..], &gateway.0, &ETHERTYPE, CONTENT].concat();
    frame.resize(FRAME_LEN, 0);
    frame
}

/// Whether a network frame is of the kind that only gateways send to VMMs. No guest may get one or send one.
#[must_use]
pub fn is_for_vmms(frame: &[u8]) -> bool {
    frame.get(HEADER_LEN - 2..HEADER_LEN) == Some(&ETHERTYPE)
}

/// The address that another VM uses too, if a network frame says that.
#[must_use]
pub fn shared_address(frame: &[u8]) -> Option<Mac> {
    let says_so = is_for_vmms(frame) && frame.get(HEADER_LEN..)?.starts_with(CONTENT);
    frame.first_chunk().filter(|_| says_so).map(|&mac| Mac(mac))
}

/// What a gateway has said to a VMM on one connection.
#[derive(Debug, Default)]
pub struct Notices {
    told_shared: bool,
}

impl Notices {
    /// Tells the operator what a network frame of this `gateway` says to the VMM, if it was not told yet.
    pub fn on_frame(&mut self, frame: &[u8], gateway: &dyn fmt::Display) {
        if let Some(mac) = shared_address(frame)
            && !std::mem::replace(&mut self.told_shared, true)
        {
            tracing::warn!(
                "another VM at the gateway {gateway} has the Ethernet address {mac} of this VM, and only one \
                 of the two is reached: give each VM a `--name` of its own, or a `--mac`"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        let mac = Mac([0x52, 0x54, 0, 0x0a, 0xbc, 1]);
        assert_eq!(mac.to_string(), "52:54:00:0a:bc:01");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for bad in [
            "52:54:00:0a:bc",
            "52:54:00:0a:bc:1",
            "52:54:00:0a:bc:zz",
            "",
            "web",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_vm_has_the_address_that_it_has_always_had() {
        // Guests have leases by it, and logs were written with it.
        assert_eq!(Mac::of_vm("vm", 0).to_string(), "52:54:3e:4b:4e:b1");
        assert_ne!(Mac::of_vm("vm", 0), Mac::of_vm("vm", 1));
        assert_ne!(Mac::of_vm("vm", 0), Mac::of_vm("web", 0));
    }

    #[test]
    fn a_notice_says_which_address_is_shared_and_nothing_else_does() {
        let (gateway, mac) = (Mac([2; 6]), Mac([4; 6]));
        let frame = notice(gateway, mac);
        assert_eq!(shared_address(&frame), Some(mac));
        for length in 0..HEADER_LEN + CONTENT.len() {
            assert_eq!(shared_address(&frame[..length]), None, "{length} bytes");
        }
        let mut other = frame;
        other[13] = 0;
        assert_eq!((shared_address(&other), is_for_vmms(&other)), (None, false));
    }
}
