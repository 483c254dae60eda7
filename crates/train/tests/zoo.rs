//! The networks that recipes know by name: what saved models and results rest on.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use lyceum_core::Seed;
use lyceum_data::Extent;
use lyceum_kernels::vector;
use lyceum_train::{ModelConfig, ParamSpace, cpu, graph::Graph};

const IMAGES: Extent = Extent { channels: 3, height: 20, width: 18 };
const SYMBOLS: Extent = Extent { channels: 1, height: 1, width: 7 };

/// Names of parameters, their order, and every bit of the initial values, as they were when the networks were written in code.
#[test]
fn names_order_and_initial_values_stay_as_they_are() {
    let norm = |name: &str| ["gamma", "beta", "running_mean", "running_variance"].map(|part| format!("{name}.{part}"));
    let layer = |name: &str| vec![format!("{name}.weight"), format!("{name}.bias")];
    let weight = |name: &str| vec![format!("{name}.weight")];
    let block = |number: usize, shortcut: bool| {
        let name = |part: &str| format!("ResNet.blocks.{number}.{part}");
        let mut names = [weight(&name("conv1")), norm(&name("norm1")).into(), weight(&name("conv2")), norm(&name("norm2")).into()].concat();
        if shortcut {
            names.extend(weight(&name("shortcut.0")));
            names.extend(norm(&name("shortcut.1")));
        }
        names
    };
    let cases: [(ModelConfig, Extent, Vec<Vec<String>>, u64); 7] = [
        (ModelConfig::Linear, IMAGES, vec![layer("Linear.output")], 0xf5ae_acf2_259c_3230),
        (
            ModelConfig::Mlp { hidden: vec![9, 6], dropout: 0.3 },
            IMAGES,
            vec![layer("Mlp.hidden.0"), layer("Mlp.hidden.1"), layer("Mlp.output")],
            0xc82e_61b3_ef53_5c88,
        ),
        (
            ModelConfig::Cnn { channels: vec![4, 6], hidden: 10, batch_norm: true, dropout: 0.2 },
            IMAGES,
            vec![
                weight("Cnn.convolutions.0"),
                weight("Cnn.convolutions.1"),
                norm("Cnn.norms.0").into(),
                norm("Cnn.norms.1").into(),
                layer("Cnn.hidden"),
                norm("Cnn.hidden_norm").into(),
                layer("Cnn.output"),
            ],
            0x58cc_2e8e_5261_80fc,
        ),
        (
            ModelConfig::Cnn { channels: vec![16, 32], hidden: 10, batch_norm: false, dropout: 0.0 },
            IMAGES,
            vec![layer("Cnn.convolutions.0"), layer("Cnn.convolutions.1"), layer("Cnn.hidden"), layer("Cnn.output")],
            0x2ac0_2a8e_c37a_cef0,
        ),
        (
            ModelConfig::FeddynCnn,
            IMAGES,
            ["conv1", "conv2", "fc1", "fc2", "fc3"].map(|name| layer(&format!("FedDynCnn.{name}"))).into(),
            0xfa29_41eb_dfc7_0fcd,
        ),
        (
            ModelConfig::Resnet { widths: vec![4, 8], blocks: 2 },
            IMAGES,
            vec![
                weight("ResNet.stem"),
                norm("ResNet.stem_norm").into(),
                block(0, false),
                block(1, false),
                block(2, true),
                block(3, false),
                layer("ResNet.output"),
            ],
            0x81ff_2041_f1f2_2c24,
        ),
        (
            ModelConfig::Lstm { symbols: None, embedding: 3, hidden: 4, layers: 2 },
            SYMBOLS,
            vec![
                vec!["Lstm.embedding".into()],
                layer("Lstm.inputs.0"),
                layer("Lstm.inputs.1"),
                layer("Lstm.recurrent.0"),
                layer("Lstm.recurrent.1"),
                layer("Lstm.output"),
            ],
            0x3ad7_c7d6_7aa3_5a64,
        ),
    ];
    for (config, extent, names, hash) in cases {
        let net = config.init(extent, 5, Seed::new(3), &cpu()).unwrap();
        let space = ParamSpace::of(&net);
        assert_eq!(space.params().iter().map(|info| info.name.clone()).collect::<Vec<_>>(), names.concat());
        let bytes = vector::to_vec(&space.vector(&net)).into_iter().flat_map(f32::to_le_bytes);
        // Fowler, Noll and Vo's.
        let found = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        assert_eq!(found, hash, "{config:?}");
    }
}

/// Published numbers of parameters and multiply-adds, for ten classes of 32×32 pixels.
#[test]
fn networks_are_what_they_are_called() {
    let extent = Extent { channels: 3, height: 32, width: 32 };
    for (config, parameters, multiply_adds) in [
        // With convolutions as shortcuts 2,752 parameters more than the 269,722 of He et al.
        (ModelConfig::Resnet20, 272_474, 40_813_184),
        (ModelConfig::Resnet32, 466_906, 69_124_736),
        (ModelConfig::Resnet56, 855_770, 125_747_840),
        (ModelConfig::Resnet18, 11_173_962, 555_422_720),
        (ModelConfig::WideResnet28x10, 36_479_194, 5_243_328_768),
        (ModelConfig::Vgg16, 14_724_042, 313_201_664),
        (ModelConfig::MobilenetV2, 2_236_682, 87_976_448),
        (ModelConfig::Densenet40, 1_019_722, 264_812_928),
        (ModelConfig::Squeeze, 30_882, 22_120_256),
    ] {
        let graph = config.graph(extent, 10).unwrap();
        assert_eq!(Graph::parse("net.toml", &graph.toml(), graph.input(), 10).unwrap(), graph);
        let cost = graph.cost();
        assert_eq!((cost.parameters, cost.multiply_adds), (parameters, multiply_adds), "{config:?}");
    }
}
