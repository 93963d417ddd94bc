//! `lldm doctor`: this machine as the program sees it, for those who ask why something is slow or not found.

use anyhow::Result;
use clap::Args;
use lldm_kernels::{CpuFeatures, bf16_path, int8_path, selected_kernel, simd_level};
use lldm_models::Device;
use lldm_models::device::HAS_CUDA;
use lldm_train::data::Places;
use serde_json::json;

use crate::config;
use crate::machine::threads;
use crate::render::{json as json_output, plain};

/// The arguments.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &DoctorArgs) -> Result<()> {
    let cpu = CpuFeatures::detect();
    let features: Vec<_> = cpu.list().iter().filter(|(_, present)| *present).map(|(name, _)| *name).collect();
    let selected = selected_kernel();
    let paths = selected.is_ok().then(|| [bf16_path().name(), int8_path().name(), simd_level()]);
    let kernel = selected.map_or_else(|error| error.to_string(), |kernel| kernel.to_string());
    let (total, available) = memory();
    let threads = threads(&cpu);
    let devices = Device::present();
    let project = config::project_file().map(|path| path.display().to_string());
    let user = config::user_file().map(|path| path.display().to_string());
    let user_exists = user.as_ref().is_some_and(|path| std::path::Path::new(path).is_file());
    let places = Places::from_env().ok();
    let cache = places.as_ref().map(|places| places.cache.display().to_string());
    let data = places.as_ref().and_then(|places| places.data.as_ref()).map(|path| path.display().to_string());
    let offline = places.as_ref().is_some_and(|places| places.offline);
    if args.json {
        return json_output::say(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cpu": {
                "brand": cpu.brand,
                "logical_cores": cpu.logical_cores,
                "physical_cores": cpu.physical_cores,
                "features": features,
            },
            "kernel": kernel,
            "bf16_path": paths.map(|[bf16, ..]| bf16),
            "int8_path": paths.map(|[_, int8, _]| int8),
            "simd_level": paths.map(|[.., level]| level),
            "threads": threads,
            "memory": { "total_bytes": total, "available_bytes": available },
            "devices": devices.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "config": { "project": project, "user": user, "user_exists": user_exists },
            "cache": cache,
            "data": data,
            "offline": offline,
        }));
    }
    let none = || "none".to_string();
    let memory = match (total, available) {
        (Some(total), Some(available)) => format!("{}, {} available", plain::size(total), plain::size(available)),
        _ => "the system does not tell".to_string(),
    };
    let cores = match cpu.physical_cores {
        Some(cores) => format!("{cores} cores, {} threads", cpu.logical_cores),
        None => format!("{} threads", cpu.logical_cores),
    };
    let user = user.map(|path| if user_exists { path } else { format!("{path} (not there)") });
    Ok(plain::say(&plain::pairs(&[
        ("version", format!("lldm {}", env!("CARGO_PKG_VERSION"))),
        ("CPU", format!("{}, {cores}", cpu.brand.as_deref().unwrap_or("unknown"))),
        ("features", features.join(" ")),
        (
            "kernels",
            paths.map_or(kernel.clone(), |[bf16, int8, level]| {
                format!("{kernel}: bf16 by {bf16}, int8 by {int8}, all else by {level}")
            }),
        ),
        ("threads", format!("{threads} (RAYON_NUM_THREADS sets another number)")),
        ("memory", memory),
        ("devices", device_line(&devices)),
        ("project", project.unwrap_or_else(|| format!("no {} in this folder or above it", config::PROJECT_FILE))),
        ("user", user.unwrap_or_else(none)),
        ("cache", cache.unwrap_or_else(none)),
        ("LLDM_DATA", data.unwrap_or_else(|| "not set".to_string())),
        (
            "network",
            if offline { "switched off by LLDM_OFFLINE".to_string() } else { "only for `lldm data get`".to_string() },
        ),
    ]))?)
}

/// The devices for a reader.
fn device_line(devices: &[Device]) -> String {
    let names: Vec<_> = devices.iter().map(ToString::to_string).collect();
    let gpus = match () {
        () if !HAS_CUDA => "; this build knows no GPU (`--features cuda`)",
        () if devices.iter().all(|device| !matches!(device, Device::Cuda(_))) => "; no GPU was found",
        () => "",
    };
    format!("{}{gpus}", names.join(" "))
}

/// Total and available bytes, where the system has /proc/meminfo.
fn memory() -> (Option<u64>, Option<u64>) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    (field("MemTotal"), field("MemAvailable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_where_there_is_a_meminfo() {
        let (total, available) = memory();
        assert_eq!(total.is_some(), std::path::Path::new("/proc/meminfo").exists());
        assert!(available <= total);
    }
}
