//! The numbers of the control and status registers, by the manual's names (privileged manual, "CSR Listing";
//! of the floating-point ones, unprivileged manual, "F").
//!
//! Only registers that exist here have a name, but for one. Where there are many of a kind, the first and the
//! last one have.

pub const FFLAGS: u32 = 0x001;
pub const FRM: u32 = 0x002;
pub const FCSR: u32 = 0x003;
pub const SSTATUS: u32 = 0x100;
pub const SIE: u32 = 0x104;
pub const STVEC: u32 = 0x105;
pub const SCOUNTEREN: u32 = 0x106;
pub const SENVCFG: u32 = 0x10a;
pub const SSCRATCH: u32 = 0x140;
pub const SEPC: u32 = 0x141;
pub const SCAUSE: u32 = 0x142;
pub const STVAL: u32 = 0x143;
pub const SIP: u32 = 0x144;
pub const STIMECMP: u32 = 0x14d;
pub const SATP: u32 = 0x180;
pub const MSTATUS: u32 = 0x300;
pub const MISA: u32 = 0x301;
pub const MEDELEG: u32 = 0x302;
pub const MIDELEG: u32 = 0x303;
pub const MIE: u32 = 0x304;
pub const MTVEC: u32 = 0x305;
pub const MCOUNTEREN: u32 = 0x306;
pub const MENVCFG: u32 = 0x30a;
pub const MCOUNTINHIBIT: u32 = 0x320;
pub const MHPMEVENT3: u32 = 0x323;
pub const MHPMEVENT31: u32 = 0x33f;
pub const MSCRATCH: u32 = 0x340;
pub const MEPC: u32 = 0x341;
pub const MCAUSE: u32 = 0x342;
pub const MTVAL: u32 = 0x343;
pub const MIP: u32 = 0x344;
pub const PMPCFG0: u32 = 0x3a0;
pub const PMPCFG2: u32 = 0x3a2;
pub const PMPADDR0: u32 = 0x3b0;
pub const PMPADDR15: u32 = 0x3bf;
/// The last `pmpaddr` of the manual. Those above [`PMPADDR15`] do not exist here.
pub const PMPADDR63: u32 = 0x3ef;
pub const MCYCLE: u32 = 0xb00;
pub const MINSTRET: u32 = 0xb02;
pub const MHPMCOUNTER3: u32 = 0xb03;
pub const MHPMCOUNTER31: u32 = 0xb1f;
pub const CYCLE: u32 = 0xc00;
pub const TIME: u32 = 0xc01;
pub const INSTRET: u32 = 0xc02;
pub const HPMCOUNTER3: u32 = 0xc03;
pub const HPMCOUNTER31: u32 = 0xc1f;
pub const MVENDORID: u32 = 0xf11;
pub const MIMPID: u32 = 0xf13;
pub const MHARTID: u32 = 0xf14;
pub const MCONFIGPTR: u32 = 0xf15;
