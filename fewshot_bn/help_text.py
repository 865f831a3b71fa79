"""What `--help` says below the options: every mode, every setting, examples."""

EXAMPLES = """\
modes:
  proto     nearest class mean of the frozen features
  lr        logistic regression on the frozen features, C chosen within the support set; settings tolerance, max_steps,
            select=kfold|loo|fixed folds=5 C=10 (where it is fixed or cannot be chosen: with 1 shot)
  lr-c1     the same as published: C=1 on raw features
  ridge     ridge regression on the frozen features; alpha, or 0 for the choice by leave-one-out
  lda       linear discriminant analysis on the frozen features; shrinkage, or 0 for Ledoit and Wolf's
  knn       nearest neighbours; k=1 metric=euclidean|cosine weights=uniform|distance
  svm       linear support vector machine of scikit-learn; C, tolerance, max_steps
  cosine    cosine classifier, trained by SGD; scale_factor=2 epochs=100 batch_size=4 lr=0.01 momentum=0.9
            dampening=0.9 weight_decay=0.001
            (all of the above: scaling=raw|l2|standard|centred_l2)
  bn        BatchNorm scales and shifts and a linear head, fine-tuned on each support set
  gn, ln    the same on the GroupNorm or LayerNorm layers of networks that have those
  bn23      as published for 33 of ResNet-50's 53 layers: batch statistics, 70 epochs, batches of 16
  bn-all    the same on all layers, without weight decay
  bn-cdfsl  with the length of CD-FSL's fine-tuning: batch statistics, 100 epochs, batches of 4, plain SGD

settings of all other modes (values first are those of bn):
  norm=batch|group|layer             scope=all|bn23|last|PATTERN,...    affines=both|scale|shift
  statistics=frozen|batch|converted|transductive                      precision=float32|bfloat16
  head=zero|normal|proto|lr          head_std=0.01                      C=1.0 (of head=lr)
  steps=50 or epochs=0               batch_size=0 (the whole support)   augment=none|flip,crop,colour
  optimiser=sgd|adam                 lr_norm=0.01  lr_head=0.01         schedule=cosine|constant
  momentum=0.9  dampening=0          weight_decay=0                     label_smoothing=0  stop_loss=0

examples:
  python -m fewshot_bn.eval                                   embedded digits and backbone, no download
  python -m fewshot_bn.eval --dataset eurosat --n-way 5 --n-support 5 --mode bn
  python -m fewshot_bn.eval --dataset path/to/folder --model resnet50 --n-support 1 5 20 --mode proto bn
  python -m fewshot_bn.eval --model my-card.toml --mode bn bn23 --set bn.scope=last bn.lr_head=0.1

A run that was stopped goes on where it was when the same command is given again."""
